"""The row of the suite `scale` on a sentence encoder's folder: the smallest file that keeps neighbours, on texts."""

import ast
import importlib.util
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _minilm import WordPieces, package
from _sentences import agreement, runs
from numpy.typing import NDArray
from result import Headline, Results, Row

import qacomp
from qacomp.exporting.decode import decode_file

_SIZES = {"minilm_calibrated": ("14MB", "15MB", "16MB"), "minilm": ("15MB", "16MB", "17MB")}
_NEAREST, _SPEARMAN = 0.97, 0.999
_TEXTS = 256  # to calibrate on, beginnings of docstrings of numpy


def minilm_rows(seeds: int) -> Results:
    """Measure the folder of all-MiniLM-L6-v2 calibrated on texts; no rows without its package."""
    return _rows("minilm_calibrated", "texts.txt", f"{_TEXTS} texts", "<= 14.0")


def minilm_words_rows(seeds: int) -> Results:
    """Measure the same folder without data."""
    return _rows("minilm", None, "no data: words at random", "<= 15.0")


def _rows(name: str, texts: str | None, told: str, bar: str) -> Results:
    archive = package()
    if archive is None:
        return [], {}
    with tempfile.TemporaryDirectory(prefix="qacomp-minilm-") as place:
        root = Path(place)
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(root / "net")
        (root / "texts.txt").write_text("\n".join(_texts()))
        pieces = WordPieces(archive)
        original = _vectors(root / "net", pieces)
        found: list[dict[str, Any]] = []
        for size in _SIZES[name]:
            spec = "words" if texts is None else f"text:{root / texts}"
            found.append({"size": size, **_measured(root, size, spec, original, pieces)})
            if _good(found[-1]):
                break
    kept = min((f["bytes"] / 1e6 for f in found if _good(f)), default=None)
    note = f"smallest of {', '.join(_SIZES[name])} that keeps 97 % of neighbours, Spearman 0.999, 512 sentences; {told}"
    row = Row(name, f"all-MiniLM-L6-v2, its folder; {told}", {}, {"files": found})
    return [row], {f"{name}_bytes": Headline(kept, "MB", bar, note)}


def _measured(root: Path, size: str, spec: str, original: NDArray[np.float32], pieces: WordPieces) -> dict[str, Any]:
    """Compress the folder to a size, decode it, and compare its vectors of the sentences with the original's."""
    done = qacomp.compress(root / "net", output=root / "net.qac", calibration=spec, target_size=size, force=True)
    decode_file(root / "net.qac", root / "back")
    told = agreement(original, _vectors(root / "back", pieces))
    shutil.rmtree(root / "back")
    return {"bytes": done.container_bytes, "seconds": round(sum(done.seconds.values())), **told}


def _good(told: Mapping[str, Any]) -> bool:
    return bool(told["nearest"] >= _NEAREST and told["spearman"] >= _SPEARMAN)


def _texts() -> list[str]:
    spec = importlib.util.find_spec("numpy")
    assert spec is not None and spec.origin is not None
    found = set()
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if 40 <= len(first) <= 300:
                    found.add(first)
    return [sorted(found)[i] for i in np.random.default_rng(1).permutation(len(found))[:_TEXTS]]


def _vectors(folder: Path, pieces: WordPieces) -> NDArray[np.float32]:
    """Return the normalized mean vectors of the sentences, by transformers."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    found = []
    with torch.no_grad():
        for feed in runs(pieces):
            ids, mask = (torch.from_numpy(feed[name]) for name in ("input_ids", "attention_mask"))
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask[:, :, None]
            found.append(torch.nn.functional.normalize(states.sum(1) / mask.sum(1, keepdim=True), dim=1).numpy())
    return np.concatenate(found)
