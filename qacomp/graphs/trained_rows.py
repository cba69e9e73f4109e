"""Tell which rows of a graph's embedding were trained; see `qacomp.tensors.vocabulary`."""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from qacomp.errors import QacompError
from qacomp.graphs.values import DTYPES, array_of, is_external
from qacomp.tensors import vocabulary

_MOST_VALUES = 1 << 30  # of a table


def trained_rows(table: TensorProto) -> NDArray[np.intp] | None:
    """Return the numbers of the rows that look trained, ascending; None for another table, or if all rows do."""
    if len(table.dims) != 2 or not 0 < table.dims[0] * table.dims[1] <= _MOST_VALUES:
        return None
    if is_external(table) or table.data_type not in DTYPES:
        return None
    try:
        values = array_of(table, None)
    except QacompError:  # a damaged tensor; the error is raised when it is packed
        return None
    return vocabulary.trained_rows(values)
