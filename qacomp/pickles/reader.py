"""Read untrusted pickles within bounds. Nothing that a pickle names is imported or called.

The reader returns plain containers, text, bytes and numbers. A subclass decides what replaces a global and a call of
it. Time and memory grow only with the bytes of the pickle: steps are counted, a length must fit the bytes that are
left, a key must be text or a small number, copied values are counted, and nesting is bounded.
"""

import pickletools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from qacomp.errors import NotACheckpointError, QacompError, UnsafePickleError
from qacomp.pickles.opcodes import STOP, table

Buffer = Any  # bytes or mmap; both return a number for an index and bytes for a slice

LARGEST_NAME = 65_535  # the limit for names in a container
_DEEPEST = 256  # nested containers; module trees of TorchScript have about 40
_MOST_STEPS = 2_000_000  # a tensor takes about 40, so this is 50,000 tensors; larger files may take more
_BYTES_A_STEP = 256
_FREE_COPIES = 1 << 20
_LARGEST_KEY = 1 << 60  # smaller integers are their own hash, so a file can't make keys collide
_LONGEST_LINE = 1024
_STEPS = table()
_CUT_OFF = "its pickle is cut off or malformed (truncated?); copy or download the file again"


@dataclass(frozen=True, slots=True)
class Name:
    """A global of the pickle (a class or a function), which is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module[:80]}.{self.name[:80]}"


@dataclass(slots=True, eq=False)
class UnmadeObject:
    """The placeholder of an object that isn't created. state: the state that the pickle would set on the object."""

    what: str = "an object"
    state: Any = None

    def keep(self, state: Any) -> None:
        """Store the state that the pickle would set on the object."""
        self.state = state


class OddKey:
    """The placeholder of a key that is neither text nor a small number, which must not be hashed, compared or shown."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"a {self.kind}"


class PickleReader:
    """Reads the pickle that starts at `place` in `data`; afterwards `place` is the position after its end.

    where: the file's name, for errors; largest: the most bytes that the pickle may have, or None. A subclass defines
    which globals are accepted (`find`), what replaces calls (`call`) and references to storages (`refer`), and
    which objects take state (`build`).
    """

    text_strings: ClassVar[bool] = True
    """Whether strings written by Python 2 are decoded as text; else they stay bytes."""

    def __init__(self, where: object, data: Buffer, place: int = 0, largest: int | None = None) -> None:
        self.where = where
        self.data = data
        self.place = place
        self.end = len(data) if largest is None else min(len(data), place + largest)
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copies = _FREE_COPIES + self.end - place

    def load(self) -> Any:
        """Return the value of the pickle; sets become lists. Raises the errors of `damaged` and `unsafe`."""
        most = _MOST_STEPS + len(self.data) // _BYTES_A_STEP
        data, end = self.data, self.end
        try:
            for _ in range(most):
                if self.place >= end:
                    raise self.damaged(self._too_long())
                code = data[self.place]
                self.place += 1
                if code == STOP:
                    value = self.stack.pop()
                    walked(value, self.damaged)
                    return value
                step = _STEPS.get(code)
                if step is None:
                    raise self.strange(code)
                step(self)
        except QacompError:
            raise
        except IndexError as error:
            raise self.damaged(_CUT_OFF) from error
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error) as error:
            raise self.damaged(f"its pickle is malformed ({type(error).__name__}); damaged? Copy it again") from error
        raise self.damaged(f"its pickle takes more than {most} steps; save only the state dict")

    # ---- hooks for a subclass, one for each kind of file

    def find(self, module: str, name: str) -> Any:
        """Return the value that replaces a global. Raises the error of `unsafe` for a global that isn't accepted."""
        raise self.unsafe(module, name)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Return the value that replaces a call; function: the value that `find` returned."""
        raise self.damaged(f"its pickle calls a {type(function).__name__}; damaged?")

    def refer(self, pid: Any) -> Any:
        """Return the value that replaces a persistent id, a reference to something outside the pickle."""
        raise self.damaged("its pickle refers to something outside itself; damaged?")

    def build(self, instance: Any, state: Any) -> None:
        """Set the state of an instance."""
        raise self.damaged(f"its pickle sets state on a {type(instance).__name__}; damaged?")

    def damaged(self, reason: str) -> QacompError:
        """Return the error for a malformed pickle."""
        return NotACheckpointError(f"{self.where}: {reason}")

    def unsafe(self, module: str, name: str) -> QacompError:
        """Return the error for a pickle that needs a global which isn't accepted."""
        return UnsafePickleError(
            f"{self.where}: its pickle needs {Name(module, name)}, which is more than tensors; nothing was imported or "
            "executed. Re-save its state dict in the environment that wrote it, or pass --trust-pickle if you trust "
            "its author"
        )

    def strange(self, code: int) -> QacompError:
        """Return the error for an opcode that isn't accepted."""
        known = [opcode.name for opcode in pickletools.opcodes if opcode.code == chr(code)]
        if not known:
            return self.damaged(_CUT_OFF)
        return UnsafePickleError(
            f"{self.where}: its pickle uses the opcode {known[0]}, which the safe reader refuses (another pickle "
            "protocol?); nothing was executed: re-save its state dict with the defaults of torch.save"
        )

    def charge(self, items: int) -> None:
        """Count values that a call copies, since a few bytes of a pickle can request the same copy many times."""
        self.copies -= items
        if self.copies < 0:
            raise self.damaged("its pickle copies the same values again and again; damaged?")

    def copied(self, items: Any) -> list[Any]:
        """Return a copy of the entries of a list or tuple, and count them."""
        if not isinstance(items, list | tuple):
            raise self.damaged(f"its pickle makes a container from a {type(items).__name__}; damaged?")
        self.charge(len(items))
        return list(items)

    # ---- helpers of the opcodes

    def taken(self, length: int) -> bytes:
        """Return the next `length` bytes. Raises the error of `damaged` if fewer are left."""
        if not 0 <= length <= self.end - self.place:
            raise self.damaged(_CUT_OFF if length > len(self.data) - self.place else self._too_long())
        self.place += length
        return bytes(self.data[self.place - length : self.place])

    def frame(self) -> None:
        """Check that the pickle has the bytes that a frame announces; they aren't read yet."""
        (length,) = struct.unpack("<Q", self.taken(8))
        if length > self.end - self.place:
            raise self.damaged(_CUT_OFF)

    def line(self) -> str:
        """Return the text up to the next line end."""
        at = self.data.find(b"\n", self.place, min(self.end, self.place + _LONGEST_LINE))
        if at < 0:
            raise self.damaged(_CUT_OFF)
        line = bytes(self.data[self.place : at])
        self.place = at + 1
        return line.decode("utf-8")

    def marked(self) -> list[Any]:
        """Remove the stack's entries since the last mark and return them."""
        mark = self.marks.pop()
        if mark > len(self.stack):
            raise self.damaged(_CUT_OFF)
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def remember(self, index: int) -> None:
        """Store the top of the stack in the memo under a number."""
        self.memo[index] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        """Append items to the list at the top of the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise self.damaged(f"its pickle appends to a {type(target).__name__}; damaged?")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Put items (key, value, key, value, ...) into the dict at the top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise self.damaged(f"its pickle sets items of a {type(target).__name__}; damaged?")
        for index in range(0, len(items), 2):
            target[self.key(items[index])] = items[index + 1]

    def found(self, module: Any, name: Any) -> Any:
        """Return the value that replaces a global; both of its names must be text."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.damaged("its pickle has a global whose name isn't text; damaged?")
        return self.find(module, name)

    def called(self, function: Any, arguments: Any) -> Any:
        """Return the value that replaces a call; its arguments must be a tuple."""
        if not isinstance(arguments, tuple):
            raise self.damaged("its pickle calls something with arguments that aren't a tuple; damaged?")
        return self.call(function, arguments)

    def key(self, key: Any) -> Any:
        """Return a key if it is text, bytes, None or a small integer; else a placeholder."""
        if type(key) is str or type(key) is bytes:
            if len(key) > LARGEST_NAME:
                raise self.damaged(f"its pickle has a key of {len(key)} characters; damaged?")
            return key
        if key is None or (isinstance(key, int) and -_LARGEST_KEY < key < _LARGEST_KEY):
            return key
        return OddKey(type(key).__name__)

    def _too_long(self) -> str:
        if self.end == len(self.data):
            return "its pickle is cut off (truncated?); copy or download the file again"
        return "its pickle is too large for one without tensors; save only the state dict"


def walked(value: Any, damaged: Callable[[str], QacompError] | None = None) -> list[Any]:
    """Return a value and all values inside it, breadth first, each container once.

    Raises the error of `damaged`, if given, when containers are nested more than _DEEPEST deep.
    """
    level, seen, found = [value], {id(value)}, [value]
    for _ in range(_DEEPEST):
        below = []
        for container in level:
            for entry in _entries(container):
                if not isinstance(entry, dict | list | tuple | UnmadeObject):
                    found.append(entry)
                elif entry and id(entry) not in seen:
                    seen.add(id(entry))
                    below.append(entry)
        if not below:
            return found
        found += below
        level = below
    if damaged is not None:
        raise damaged(f"its pickle nests values more than {_DEEPEST} deep; damaged?")
    return found


def _entries(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, UnmadeObject):
        return (value.state,)
    return value if isinstance(value, list | tuple) else ()
