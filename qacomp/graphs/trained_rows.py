"""Tell which rows of an embedding were trained: reserved and unused tokens keep the small values they started with.

Half of a sequence of ids that are drawn by rank alone can be such rows (BERT's vocabulary reserves its first thousand),
and what a model does with them says nothing about text.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from qacomp.errors import QacompError
from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.graphs.values import DTYPES, array_of, is_external

_SHORT = 0.5  # of the median row's length: BERT's unused rows have 0.4, its rarest words 0.7
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
    wide = bfloat16_to_float32(values) if values.dtype == BFLOAT16 else values
    if wide.dtype.kind != "f":
        return None
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide, dtype=np.float64))
    long = lengths >= _SHORT * np.median(lengths)
    return None if long.all() or not np.isfinite(lengths).all() else np.flatnonzero(long)
