"""One bounded reader for every pickle that comes from outside. Nothing of a pickle is imported, called or believed.

It gives plain containers, text, bytes and numbers. A global is only named; a subclass says what stands for its call.
Whatever a pickle says, reading it takes time and memory in proportion to its bytes: steps are counted, a length must
fit what is left, a key is text or a small number, what calls copy is counted, and nesting is bounded.
"""

import pickletools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from qacomp.errors import NotACheckpointError, QacompError, UnsafePickleError
from qacomp.pickles.opcodes import STOP, table

Buffer = Any  # bytes or mmap: an index gives a number, a slice bytes

LARGEST_NAME = 65_535  # as long as a container's names may be
_DEEPEST = 256  # containers in containers; module trees of TorchScript come to about 40
_MOST_STEPS = 2_000_000  # a tensor takes about 40, so this is 50,000 tensors; larger files may take more
_BYTES_A_STEP = 256
_FREE_COPIES = 1 << 20
_LARGEST_KEY = 1 << 60  # smaller numbers are their own hash: no file can make them collide
_LONGEST_LINE = 1024
_STEPS = table()
_CUT_OFF = "its pickle is cut off or malformed (truncated?); copy or download it again"


@dataclass(frozen=True, slots=True)
class Name:
    """Stands for a global: never imported, only named."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module[:80]}.{self.name[:80]}"


@dataclass(slots=True, eq=False)
class UnmadeObject:
    """Stands for an object that isn't made; `state` is what the pickle would set on it."""

    what: str = "an object"
    state: Any = None

    def keep(self, state: Any) -> None:
        """Keep what the pickle would set on the object."""
        self.state = state


class OddKey:
    """Stands for a key that is neither text nor a small number: that one is never hashed, compared or shown."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"a {self.kind}"


class PickleReader:
    """Reads the pickle that starts at `place` of `data`; afterwards `place` is behind its end.

    where: the file, for errors. largest: how many bytes the pickle may have. A subclass says which globals it knows
    (`find`), what stands for their calls (`call`) and for storages (`refer`), and what takes state (`build`).
    """

    text_strings: ClassVar[bool] = True
    """Whether the strings of Python 2 are text; else they stay bytes."""

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
        """Return the value; sets are lists. Raises what `damaged` and `unsafe` give."""
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
            raise self.damaged(f"its pickle is malformed ({type(error).__name__}); damaged?") from error
        raise self.damaged(f"its pickle takes more than {most} steps; save the state dict alone")

    # ---- what a kind of file says

    def find(self, module: str, name: str) -> Any:
        """Return what stands for a global. Raises `unsafe` for one that isn't admitted."""
        raise self.unsafe(module, name)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Return what stands for the result of a call of what `find` gave."""
        raise self.damaged(f"its pickle calls a {type(function).__name__}; damaged?")

    def refer(self, pid: Any) -> Any:
        """Return what stands for something outside the pickle."""
        raise self.damaged("its pickle refers to something outside itself; damaged?")

    def build(self, instance: Any, state: Any) -> None:
        """Take the state of an instance."""
        raise self.damaged(f"its pickle sets state on a {type(instance).__name__}")

    def damaged(self, reason: str) -> QacompError:
        """Return the error of a malformed pickle."""
        return NotACheckpointError(f"{self.where}: {reason}")

    def unsafe(self, module: str, name: str) -> QacompError:
        """Return the error of a pickle that needs a global which isn't admitted."""
        return UnsafePickleError(
            f"{self.where}: its pickle needs {Name(module, name)}, which is more than tensors; nothing was imported or "
            "executed. Re-save its state dict in the environment that wrote it, or pass --trust-pickle if you trust "
            "its author"
        )

    def strange(self, code: int) -> QacompError:
        """Return the error of an opcode that isn't admitted."""
        known = [opcode.name for opcode in pickletools.opcodes if opcode.code == chr(code)]
        if not known:
            return self.damaged(_CUT_OFF)
        return UnsafePickleError(
            f"{self.where}: its pickle uses the opcode {known[0]}, which the safe reader doesn't take (another pickle "
            "protocol?); nothing was executed: re-save its state dict with torch.save's defaults"
        )

    def charge(self, items: int) -> None:
        """Count what a call copies: a few bytes can ask for the same copy again and again."""
        self.copies -= items
        if self.copies < 0:
            raise self.damaged("its pickle copies the same values again and again; damaged?")

    def copied(self, items: Any) -> list[Any]:
        """Return the entries of a list or tuple, counted."""
        if not isinstance(items, list | tuple):
            raise self.damaged(f"its pickle makes a container of a {type(items).__name__}; damaged?")
        self.charge(len(items))
        return list(items)

    # ---- what the opcodes need

    def taken(self, length: int) -> bytes:
        """Return the next bytes. Raises `damaged` where fewer are left."""
        if not 0 <= length <= self.end - self.place:
            raise self.damaged(_CUT_OFF if length > len(self.data) - self.place else self._too_long())
        self.place += length
        return bytes(self.data[self.place - length : self.place])

    def frame(self) -> None:
        """Check that the bytes which a frame announces are there; nothing is read ahead."""
        (length,) = struct.unpack("<Q", self.taken(8))
        if length > self.end - self.place:
            raise self.damaged(_CUT_OFF)

    def line(self) -> str:
        """Return the text up to the next end of a line."""
        at = self.data.find(b"\n", self.place, min(self.end, self.place + _LONGEST_LINE))
        if at < 0:
            raise self.damaged(_CUT_OFF)
        line = bytes(self.data[self.place : at])
        self.place = at + 1
        return line.decode("utf-8")

    def marked(self) -> list[Any]:
        """Take away and return what was put down since the last mark."""
        mark = self.marks.pop()
        if mark > len(self.stack):
            raise self.damaged(_CUT_OFF)
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def remember(self, index: int) -> None:
        """Keep what was put down last under a number."""
        self.memo[index] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        """Append to the list below."""
        target = self.stack[-1]
        if type(target) is not list:
            raise self.damaged(f"its pickle appends to a {type(target).__name__}; damaged?")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, in turns, into the dict below."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise self.damaged(f"its pickle sets items of a {type(target).__name__}; damaged?")
        for index in range(0, len(items), 2):
            target[self.key(items[index])] = items[index + 1]

    def found(self, module: Any, name: Any) -> Any:
        """Return what stands for a global, whose two names must be text."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.damaged("its pickle names a global by something that is no text; damaged?")
        return self.find(module, name)

    def called(self, function: Any, arguments: Any) -> Any:
        """Return what stands for a call, whose arguments must be a tuple."""
        if not isinstance(arguments, tuple):
            raise self.damaged("its pickle calls something without arguments; damaged?")
        return self.call(function, arguments)

    def key(self, key: Any) -> Any:
        """Return a key as it is, where it is text or a small number; else something that stands for it."""
        if type(key) is str or type(key) is bytes:
            if len(key) > LARGEST_NAME:
                raise self.damaged(f"its pickle has a key of {len(key)} characters; damaged?")
            return key
        if key is None or (isinstance(key, int) and -_LARGEST_KEY < key < _LARGEST_KEY):
            return key
        return OddKey(type(key).__name__)

    def _too_long(self) -> str:
        if self.end == len(self.data):
            return "its pickle is cut off (truncated?); copy or download it again"
        return "its pickle is larger than any without tensors in it; save the state dict alone"


def walked(value: Any, damaged: Callable[[str], QacompError] | None = None) -> list[Any]:
    """Return a value and all that it holds, nearest first, each container once.

    Raises what `damaged` gives where containers stand deeper in each other than any file needs.
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
