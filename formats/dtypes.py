"""Define the element types of the container and their ids, and convert bfloat16, which numpy lacks."""

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.errors import UnsupportedTensorError, UnsupportedVersionError

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""bfloat16 as a numpy dtype: one field that holds the 16 bits. `array.view(numpy.uint16)` returns the bits."""

DTYPES: dict[int, np.dtype] = {
    0: np.dtype("?"),
    1: np.dtype("u1"),
    2: np.dtype("i1"),
    3: np.dtype("<u2"),
    4: np.dtype("<i2"),
    5: np.dtype("<u4"),
    6: np.dtype("<i4"),
    7: np.dtype("<u8"),
    8: np.dtype("<i8"),
    9: np.dtype("<f2"),
    10: BFLOAT16,
    11: np.dtype("<f4"),
    12: np.dtype("<f8"),
}
_IDS = {dtype: number for number, dtype in DTYPES.items()}
FLOAT_IDS = (9, 10, 11, 12)
BOOL_ID, BFLOAT16_ID = 0, 10


def dtype_id(dtype: "np.dtype[np.generic]", name: str = "array") -> int:
    """Return the id of a numpy dtype in either byte order. Raises UnsupportedTensorError, which names the tensor."""
    if dtype.name == "bfloat16":  # the package ml_dtypes registers a dtype of this name
        return 10
    number = _IDS.get(dtype.newbyteorder("<"))
    if number is None:
        raise UnsupportedTensorError(f"{name}: dtype {dtype} can't be stored; convert it to one of {names()}")
    return number


def dtype_of(number: int) -> "np.dtype[np.generic]":
    """Return the numpy dtype of an id; raises UnsupportedVersionError for an id of a newer format version."""
    if number not in DTYPES:
        raise UnsupportedVersionError(f"element type {number} is of a newer format version; update qacomp")
    return DTYPES[number]


def itemsize_of(number: int) -> int:
    """Return the bytes of one element; for an unknown type 1, the smallest possible size."""
    return DTYPES[number].itemsize if number in DTYPES else 1


def dtype_name(number: int) -> str:
    """Return the name of an element type in reports: numpy's name, bfloat16, or unknown-13 for the unknown id 13."""
    if number not in DTYPES:
        return f"unknown-{number}"
    return "bfloat16" if number == 10 else DTYPES[number].name


def converts_exactly(stored: int, given: int) -> bool:
    """Return whether every value of the type `stored` is exact in the type `given`; both ids must be known."""
    if stored == given:
        return True
    if {stored, given} & {BOOL_ID, BFLOAT16_ID}:
        return False
    source, target = DTYPES[stored], DTYPES[given]
    wide = source.kind in "iu" and target.kind == "f" and source.itemsize >= target.itemsize
    return np.can_cast(source, target, "safe") and not wide


def names() -> str:
    """Return the names of all element types, separated by commas, for messages."""
    return ", ".join(dtype_name(number) for number in DTYPES)


def little_endian(array: NDArray[np.generic], name: str = "array") -> NDArray[np.generic]:
    """Return the array as C-contiguous little-endian data, copied only if needed; bfloat16 of any kind as BFLOAT16."""
    target = dtype_of(dtype_id(array.dtype, name))
    if target == BFLOAT16 and array.dtype != BFLOAT16:
        shape = array.shape
        return np.ascontiguousarray(array).reshape(-1).view(np.uint16).view(BFLOAT16).reshape(shape)
    return np.asarray(array, dtype=target, order="C")


def bfloat16_from_float32(values: NDArray[np.float32]) -> NDArray[np.void]:
    """Round float32 to bfloat16 (nearest, ties to even; NaN stays NaN): the same shape, dtype BFLOAT16."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = ((bits.astype(np.uint64) + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
    nan = np.isnan(values)
    rounded[nan] = (bits[nan] >> 16 | 0x40).astype("<u2")
    return rounded.view(BFLOAT16).reshape(np.shape(values))


def bfloat16_to_float32(values: NDArray[np.void]) -> NDArray[np.float32]:
    """Convert bfloat16 values (dtype BFLOAT16) to float32, exactly: the same shape."""
    bits = np.ascontiguousarray(values).view("<u2").astype("<u4") << 16
    return bits.view("<f4").reshape(values.shape)
