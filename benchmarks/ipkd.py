"""Flexible networks: the IPKD-TA paper's tables I and II, a precision ladder on ResNet-20, and one file for all of it.

Every trial is kept in benchmarks/work, so that a suite that was broken off goes on. `--size paper` trains the paper's
networks for its 300 and 200 epochs: weeks without a GPU. Without the shared folder only the counts and the exported
sub-models are measured.
"""

from typing import Any

import _ipkd_exports
import _ipkd_ladder
import _ipkd_tables
from result import Headline, Row, shared_folder, spread

LOWEST = "level4"


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """The suite: rows and headlines."""
    rows, headlines = _ipkd_exports.counts()
    more, error = _ipkd_exports.exports()
    rows += more
    if shared_folder() is None:
        return rows, headlines | _error(error, [])
    file = _ipkd_ladder.one_file()
    ladder = _ipkd_ladder.table(seeds)
    return (
        rows + _ipkd_tables.tables(size, seeds) + ladder + [file],
        headlines | _error(error, [file.results]) | _file(file.results) | _gain(ladder),
    )


def _error(error: float, files: list[dict[str, Any]]) -> dict[str, Headline]:
    worst = max([error, *(r["max_abs_error"] for r in files)])
    note = "logits of every exit, width and level in onnxruntime against the sub-model in PyTorch; predictions equal"
    return {"submodel_max_abs_error": Headline(worst, "", "<= 1e-4", note)}


def _file(r: dict[str, Any]) -> dict[str, Headline]:
    parts, finest = r["separate_bytes"], r["separate_bytes"][-1]
    text = (
        f"ResNet-20 in levels 4, 16 and 64 with batch norms of their own, {r['bytes']:,} bytes; the same networks in "
    )
    text += "containers of their own: " + ", ".join(f"{size:,}" for size in parts)
    cut = f"the first {r['prefix_bytes']:,} bytes, decoded to ONNX; level 4 of the whole file: {r['level4']:.2f} %"
    return {
        "ladder_vs_separate": Headline(r["bytes"] / sum(parts), "x", "<= 0.55", text),
        "ladder_vs_finest": Headline(r["bytes"] / finest, "x", "<= 1.05", text),
        "prefix_level4_accuracy": Headline(r["prefix_accuracy"], "%", f"= {r['level4']:.2f}", cut),
    }


def _gain(table: list[Row]) -> dict[str, Headline]:
    found = {row.name: row for row in table}
    taught, alone = (found[f"ladder_{name}"].results[LOWEST] for name in ("ta-m", "none"))
    gains = [a - b for a, b in zip(taught, alone, strict=True)]
    s = found["ladder_ta-m"].settings
    note = (
        f"ResNet-20 on CIFAR-10J, levels 2, 4 and 16, {s['epochs']} epochs of {s['images']:,} images from the trained "
        f"checkpoint, {len(gains)} seeds, in pairs; TA-M less no distillation. Temperature, the guide and the learning "
        "rate, one for both, were chosen on the validation split at half that training"
    )
    return {"ladder_ta_m_gain": Headline(sum(gains) / len(gains), "pt", "> 0 expected", note, spread(gains))}
