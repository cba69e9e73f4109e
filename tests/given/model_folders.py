"""Make small folders of models as transformers writes them, without it."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

PT = {"format": "pt"}
CONFIG = {"model_type": "tiny", "hidden_size": 32, "tie_word_embeddings": True}


def tensors(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """A small language model: an embedding, two layers, norms, and integers beside them."""
    made = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=made).to(dtype)

    state = {"model.embed_tokens.weight": random(60, 32), "model.norm.weight": torch.ones(32, dtype=dtype)}
    for number in range(2):
        path = f"model.layers.{number}"
        state[f"{path}.self_attn.q_proj.weight"] = random(32, 32)
        state[f"{path}.mlp.up_proj.weight"] = random(64, 32)
        state[f"{path}.input_layernorm.weight"] = random(32)
    return state | {"model.ids": torch.arange(7)}


def write_folder(folder: Path, shards: Mapping[str, Mapping[str, Tensor]], files: Mapping[str, bytes]) -> Path:
    """Write shards (with an index if there are several) and other files, some of them in subfolders."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in shards.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(state), folder / name, PT)
    if len(shards) > 1:
        placed = {tensor: name for name, state in shards.items() for tensor in state}
        total = sum(t.numel() * t.itemsize for state in shards.values() for t in state.values())
        index = {"metadata": {"total_size": total}, "weight_map": placed}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def small_folder(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """A folder of two shards with a configuration, a tokenizer, a readme in Latin-1 and a subfolder."""
    state = tensors(dtype=dtype)
    names = list(state)
    first = {name: state[name] for name in names[:4]}
    second = {name: state[name] for name in names[4:]}
    shards = {"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": second}
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": bytes(range(256)) * 40,
        "README.md": "größer".encode("latin-1"),
        "empty.txt": b"",
        "onnx/notes.txt": b"a subfolder",
    }
    return write_folder(folder, shards, files)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder and its subfolders, by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
