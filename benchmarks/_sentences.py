"""Sentences to compare a text encoder on: beginnings of docstrings of the standard library, and how vectors agree."""

import ast
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
from _minilm import WordPieces
from numpy.typing import NDArray

COUNT = 512
_SHORTEST, _LONGEST, _BATCH = 40, 300, 64  # characters; sentences in a run


def sentences() -> list[str]:
    """512 sentences, the same for one version of Python."""
    found = set()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if _SHORTEST <= len(first) <= _LONGEST:
                    found.add(first)
    order = np.random.default_rng(0).permutation(len(found))[:COUNT]
    return [sorted(found)[i] for i in order]


def runs(pieces: WordPieces) -> list[dict[str, NDArray[np.int64]]]:
    """The inputs of the model: sentences of about equal length together, filled up under the mask."""
    texts = sorted((pieces.ids(text) for text in sentences()), key=len)
    made = []
    for start in range(0, len(texts), _BATCH):
        part = texts[start : start + _BATCH]
        ids = np.zeros((len(part), max(map(len, part))), np.int64)
        for row, text in zip(ids, part, strict=True):
            row[: len(text)] = text
        mask = (np.arange(ids.shape[1]) < np.array([[len(text)] for text in part])).astype(np.int64)
        made.append({"input_ids": ids, "attention_mask": mask})
    return made


def agreement(before: NDArray[Any], after: NDArray[Any]) -> dict[str, float]:
    """Return the rank correlation of all similarities, and the share of equal neighbours, of normalized vectors."""
    one, other = (np.asarray(a, np.float64) @ np.asarray(a, np.float64).T for a in (before, after))
    pairs = np.triu_indices(len(one), 1)
    ranks = [np.argsort(np.argsort(found[pairs])) for found in (one, other)]
    spearman = float(np.corrcoef(*ranks)[0, 1])
    for found in (one, other):
        np.fill_diagonal(found, -2)
    return {"spearman": spearman, "nearest": float((one.argmax(1) == other.argmax(1)).mean())}
