"""Read the pickle of torch.save without torch: descriptions of tensors and their storages, and plain values."""

from typing import Any

from qacomp.checkpoints.views import (
    ITEM_BYTES,
    QUANTIZED,
    STORAGE_DTYPES,
    Described,
    Quantized,
    Storage,
    Untaken,
    View,
    checked_view,
    is_count,
)
from qacomp.errors import UnsafePickleError
from qacomp.pickles import LARGEST_NAME, Name, PickleReader, UnmadeObject

LARGEST_PICKLE = 32 << 20  # bytes; names and shapes of a thousand layers take a few hundred kilobytes
_UNTAKEN = {
    "_rebuild_qtensor": "quantized",
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_meta_tensor_no_storage": "meta (without values)",
    "_rebuild_wrapper_subclass": "wrapper-subclass",
    "_rebuild_device_tensor_from_numpy": "accelerator",
    "_rebuild_device_tensor_from_cpu_tensor": "accelerator",
}
_PLAIN_CALLS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_PARAMETER_CALLS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
_CALLS = {
    *(("torch._utils", name) for name in (*_PLAIN_CALLS, *_PARAMETER_CALLS, *_UNTAKEN)),
    *((module, name) for module in ("builtins", "__builtin__") for name in ("bytearray", "set", "complex")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
    ("collections", "Counter"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "Tensor"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.nn.parameter", "Buffer"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.serialization", "_get_layout"),
    ("_codecs", "encode"),
}
_QSCHEMES = ("per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric")


class TorchPickle(PickleReader):
    """Reads tensors as Views (or Quantized or Untaken), all kinds of dicts as dict, sets as lists, sizes as tuples."""

    def __init__(self, where: object, data: Any, place: int = 0, largest: int = LARGEST_PICKLE) -> None:
        super().__init__(where, data, place, largest)
        self.storages: dict[str, Storage] = {}

    def find(self, module: str, name: str) -> Name:
        """Return the name of a global that is accepted. Raises UnsafePickleError for any other."""
        known = module in ("torch", "torch.storage", "torch.cuda") and (
            name in STORAGE_DTYPES or name in ITEM_BYTES or name in _QSCHEMES
        )
        if not known and (module, name) not in _CALLS:
            raise self.unsafe(module, name)
        return Name(module, name)

    def refer(self, pid: Any) -> Storage:
        """Return the Storage for a persistent id ("storage", type, key, location, numel[, view])."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            raise self.damaged("its pickle has a reference that isn't a storage; damaged?")
        kind, key, numel = pid[1], pid[2], pid[4]
        key = str(key) if is_count(key) else key
        if not isinstance(key, str) or len(key) > LARGEST_NAME:
            raise self.damaged("a storage has no valid key; damaged?")
        if not isinstance(kind, Name) or kind.name not in STORAGE_DTYPES or not is_count(numel):
            raise self.damaged(f"storage {key[:80]!r} has no valid type and size; damaged?")
        if len(pid) > 5 and pid[5] is not None:
            raise self.damaged(
                f"storage {key[:80]!r} is a view of another, as torch before 0.4 saved them; re-save the file"
            )
        storage = Storage(key, STORAGE_DTYPES[kind.name], numel)
        if self.storages.setdefault(key, storage) != storage:
            raise self.damaged(f"storage {key[:80]!r} is declared with two sizes or types; damaged?")
        return self.storages[key]

    def build(self, instance: Any, state: Any) -> None:
        """Ignore the state, which only ordered dicts (`_metadata`), parameters and numpy's types have here."""
        if not isinstance(instance, dict | View | Quantized | Untaken | UnmadeObject):
            super().build(instance, state)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Return a View for a tensor, a plain container for a container, and a placeholder for other accepted calls."""
        name = function.name if isinstance(function, Name) else ""
        if name in _PLAIN_CALLS:
            return self._tensor(name, arguments)
        if name in _PARAMETER_CALLS or name in ("Parameter", "Buffer"):
            return arguments[0]
        if name == "_rebuild_qtensor":
            return self._quantized(arguments)
        if name in _UNTAKEN:
            return Untaken(_UNTAKEN[name])
        if name == "_rebuild_from_type_v2":
            return self._with_attributes(arguments)
        if name in ("OrderedDict", "Counter"):
            return self._dict(arguments)
        if name == "Size":
            return tuple(self.copied(arguments[0])) if arguments else ()
        if name == "set":
            return self.copied(arguments[0]) if arguments else []
        if name in ("device", "_get_layout", "complex", "dtype", "scalar"):
            return UnmadeObject(name)
        if name == "encode" and isinstance(arguments[0], str):
            self.charge(len(arguments[0]))
            return arguments[0].encode("latin1")
        if name == "bytearray" and all(isinstance(argument, bytes) for argument in arguments[:1]):
            return arguments[0] if arguments else b""
        raise UnsafePickleError(
            f"{self.where}: its pickle calls {function if name else type(function).__name__} in a way that no state "
            "dict needs; nothing was executed. Re-save its state dict in the environment that wrote it"
        )

    def _dict(self, arguments: tuple[Any, ...]) -> dict[Any, Any]:
        """Return a dict made from nothing, from a dict, or from pairs (as Python 2 wrote them)."""
        if arguments and isinstance(arguments[0], dict):
            self.charge(len(arguments[0]))
            return dict(arguments[0])
        made: dict[Any, Any] = {}
        for pair in self.copied(arguments[0]) if arguments else ():
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise self.damaged("its pickle makes an ordered dict of entries that aren't pairs; damaged?")
            made[self.key(pair[0])] = pair[1]
        return made

    def _with_attributes(self, arguments: tuple[Any, ...]) -> Any:
        """Return the tensor for (function, type, arguments of the function, attributes), without its attributes."""
        function, kind, inner = arguments[:3]
        nested = isinstance(function, Name) and function.name == "_rebuild_from_type_v2"
        if nested or not isinstance(kind, Name) or kind.name not in ("Tensor", "Parameter", "Buffer"):
            return Untaken("subclass")
        return self.called(function, inner)

    def _quantized(self, arguments: tuple[Any, ...]) -> Described:
        storage, offset, size, stride, parameters = arguments[:5]
        scheme = parameters[0].name if isinstance(parameters[0], Name) else ""
        if not isinstance(storage, Storage) or storage.dtype not in QUANTIZED:
            return Untaken("quantized")
        view = checked_view(self.where, storage, QUANTIZED[storage.dtype], offset, size, stride)
        if scheme == "per_tensor_affine" and type(parameters[1]) is float and type(parameters[2]) is int:
            return Quantized(view, parameters[1], parameters[2])
        if scheme == "per_channel_affine" and all(isinstance(part, View) for part in parameters[1:3]):
            axis, scale, zero = parameters[3], parameters[1], parameters[2]
            if is_count(axis) and axis < len(view.shape) and scale.shape == zero.shape == (view.shape[axis],):
                return Quantized(view, scale, zero, axis)
        return Untaken("quantized")

    def _tensor(self, call: str, arguments: tuple[Any, ...]) -> Described:
        storage, offset, size, stride = arguments[:4]
        if not isinstance(storage, Storage):
            raise self.damaged("its pickle has a tensor without a valid storage; damaged?")
        dtype = storage.dtype
        if dtype.startswith("q"):
            return Untaken("quantized")
        if call == "_rebuild_tensor_v3":
            named = arguments[6] if len(arguments) > 6 else None
            dtype = named.name if isinstance(named, Name) else ""
            if dtype not in ITEM_BYTES:
                return Untaken("unknown-dtype")
        if any(isinstance(extra, dict) and extra.keys() & {"conj", "neg"} for extra in arguments[6:]):
            return Untaken("lazily conjugated or negated")
        return checked_view(self.where, storage, dtype, offset, size, stride)
