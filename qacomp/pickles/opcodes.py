"""Implement the opcodes that the safe reader accepts: protocols 2 to 5, as torch, numpy and Python 2 write them.

Refused are the text protocols, extension codes, out-of-band buffers and the opcode that duplicates the stack's top.
"""

import pickle
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

Machine: TypeAlias = Any  # a PickleReader; importing it here would be a circle
Step = Callable[[Machine], None]
STOP = pickle.STOP[0]
_NUMBERS = {
    pickle.BININT: ("<i", 4), pickle.BININT1: ("<B", 1), pickle.BININT2: ("<H", 2), pickle.BINFLOAT: (">d", 8),
}  # fmt: skip
_TEXTS = {pickle.BINUNICODE: ("<I", 4), pickle.SHORT_BINUNICODE: ("<B", 1), pickle.BINUNICODE8: ("<Q", 8)}
_BYTES = {
    pickle.BINBYTES: ("<I", 4), pickle.SHORT_BINBYTES: ("<B", 1), pickle.BINBYTES8: ("<Q", 8),
    pickle.BYTEARRAY8: ("<Q", 8),
}  # fmt: skip
_STRINGS = {pickle.BINSTRING: ("<i", 4), pickle.SHORT_BINSTRING: ("<B", 1)}  # of Python 2
_GETS = {pickle.BINGET: ("<B", 1), pickle.LONG_BINGET: ("<I", 4)}
_PUTS = {pickle.BINPUT: ("<B", 1), pickle.LONG_BINPUT: ("<I", 4)}


def table() -> dict[int, Step]:
    """Return the step of each opcode: the function that carries it out on a reader."""
    steps: dict[bytes, Step] = {
        pickle.PROTO: _skip(1),
        pickle.FRAME: lambda reader: reader.frame(),
        pickle.NONE: _constant(None),
        pickle.NEWTRUE: _constant(True),
        pickle.NEWFALSE: _constant(False),
        pickle.EMPTY_TUPLE: _constant(()),
        pickle.EMPTY_DICT: lambda reader: reader.stack.append({}),
        pickle.EMPTY_LIST: lambda reader: reader.stack.append([]),
        pickle.EMPTY_SET: lambda reader: reader.stack.append([]),  # a list, so that its entries needn't be hashed
        pickle.MARK: lambda reader: reader.marks.append(len(reader.stack)),
        pickle.TUPLE: lambda reader: reader.stack.append(tuple(reader.marked())),
        pickle.FROZENSET: lambda reader: reader.stack.append(reader.marked()),
        pickle.TUPLE1: _tuple(1),
        pickle.TUPLE2: _tuple(2),
        pickle.TUPLE3: _tuple(3),
        pickle.APPEND: lambda reader: reader.extend([reader.stack.pop()]),
        pickle.APPENDS: lambda reader: reader.extend(reader.marked()),
        pickle.ADDITEMS: lambda reader: reader.extend(reader.marked()),
        pickle.SETITEM: lambda reader: reader.set_items(_popped(reader, 2)),
        pickle.SETITEMS: lambda reader: reader.set_items(reader.marked()),
        pickle.GLOBAL: lambda reader: reader.stack.append(reader.found(reader.line(), reader.line())),
        pickle.STACK_GLOBAL: lambda reader: reader.stack.append(reader.found(*_popped(reader, 2))),
        pickle.REDUCE: lambda reader: reader.stack.append(reader.called(*_popped(reader, 2))),
        pickle.NEWOBJ: lambda reader: reader.stack.append(reader.called(*_popped(reader, 2))),
        pickle.BUILD: _build,
        pickle.BINPERSID: lambda reader: reader.stack.append(reader.refer(reader.stack.pop())),
        pickle.MEMOIZE: lambda reader: reader.remember(len(reader.memo)),
        pickle.LONG1: _long,
    }
    steps |= {code: _number(*size) for code, size in _NUMBERS.items()}
    steps |= {code: _text(*size) for code, size in _TEXTS.items()}
    steps |= {code: _bytes(*size) for code, size in _BYTES.items()}
    steps |= {code: _string(*size) for code, size in _STRINGS.items()}
    steps |= {code: _get(*size) for code, size in _GETS.items()}
    steps |= {code: _put(*size) for code, size in _PUTS.items()}
    return {code[0]: step for code, step in steps.items()}


def _constant(value: Any) -> Step:
    return lambda reader: reader.stack.append(value)


def _skip(size: int) -> Step:
    def step(reader: Machine) -> None:
        reader.taken(size)

    return step


def _tuple(size: int) -> Step:
    return lambda reader: reader.stack.append(tuple(_popped(reader, size)))


def _unpacked(reader: Machine, form: str, size: int) -> Any:
    return struct.unpack(form, reader.taken(size))[0]


def _number(form: str, size: int) -> Step:
    return lambda reader: reader.stack.append(_unpacked(reader, form, size))


def _text(form: str, size: int) -> Step:
    return lambda reader: reader.stack.append(
        reader.taken(_unpacked(reader, form, size)).decode("utf-8", "surrogatepass")
    )


def _bytes(form: str, size: int) -> Step:
    return lambda reader: reader.stack.append(reader.taken(_unpacked(reader, form, size)))


def _string(form: str, size: int) -> Step:
    def step(reader: Machine) -> None:
        value = reader.taken(_unpacked(reader, form, size))
        reader.stack.append(value.decode("utf-8") if reader.text_strings else value)

    return step


def _get(form: str, size: int) -> Step:
    return lambda reader: reader.stack.append(reader.memo[_unpacked(reader, form, size)])


def _put(form: str, size: int) -> Step:
    return lambda reader: reader.remember(_unpacked(reader, form, size))


def _long(reader: Machine) -> None:
    reader.stack.append(int.from_bytes(reader.taken(reader.taken(1)[0]), "little", signed=True))


def _build(reader: Machine) -> None:
    state = reader.stack.pop()
    reader.build(reader.stack[-1], state)


def _popped(reader: Machine, count: int) -> list[Any]:
    """Remove the last `count` entries from the stack and return them in their order."""
    stack: list[Any] = reader.stack
    if len(stack) < count:
        raise IndexError
    items = stack[-count:]
    del stack[-count:]
    return items
