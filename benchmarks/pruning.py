"""Pruning: EPruning's search, its table 1 beside magnitude pruning, LeNet-5 pruned, shared and coded, ONNX sped up.

The networks want the real checkpoint and data (QACOMP_SHARED, or ../shared beside the checkout) and are left out
otherwise. `--size paper` takes days without a GPU; both sizes go on where they were broken off.
"""

import json
from dataclasses import asdict
from typing import Any

import _pruning_lenet
import _pruning_networks
import _pruning_search
from result import Headline, Row, spread


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """The suite: rows and headlines."""
    rows, headlines = _search(size)
    if not _pruning_networks.SHARED.is_dir():
        return rows, headlines
    table = list(_pruning_networks.table(size, seeds))
    lenet = _pruning_lenet.rows(seeds)
    return rows + lenet + table, headlines | _against_magnitude(table) | _lenet(lenet) | _onnx(table)


def _search(size: str) -> tuple[list[Row], dict[str, Headline]]:
    """Scoring and brute force, kept like the networks' rows, so that a resumed suite doesn't time them again."""
    path = _pruning_networks.WORK / f"{size}_search.json"
    if not path.exists():
        rows, headlines = _pruning_search.scoring(size)
        more, found = _pruning_search.brute_force()
        kept = {"rows": [asdict(row) for row in rows + more]}
        kept["headlines"] = {key: asdict(h) for key, h in (headlines | found).items()}  # type: ignore[assignment]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept))
    kept = json.loads(path.read_text())
    return [Row(**row) for row in kept["rows"]], {key: Headline(**h) for key, h in kept["headlines"].items()}  # type: ignore[attr-defined]


def _against_magnitude(table: list[Row]) -> dict[str, Headline]:
    def top1(method: str) -> list[float]:
        return [row.results["P"]["top1"] for row in table if row.name == f"resnet20_c10j_{method}"]

    energy, magnitude = top1("energy"), top1("magnitude")
    differences = [a - b for a, b in zip(energy, magnitude, strict=True)]
    row = next(row for row in table if row.name == "resnet20_c10j_energy")
    s = row.settings
    images = "all" if s["images"] is None else f"{s['images']:,}"
    note = f"top-1 of ResNet-20 on CIFAR-10J, energy {_mean(energy):.2f} % less magnitude per filter "
    note += f"{_mean(magnitude):.2f} %, about half of the real parameters kept by both, {s['epochs']} epochs of "
    note += f"{images} training images, {len(differences)} seeds"
    value = _mean(differences)
    return {"energy_vs_magnitude_accuracy": Headline(value, "pt", ">= 0 expected", note, spread(differences))}


def _lenet(rows: list[Row]) -> dict[str, Headline]:
    """The worst of the seeds, in size and in error: the bars hold for each of them."""
    ratios = [row.results["ratio_without_graph"] for row in rows]
    errors = [row.results["error_after"] - row.results["error_before"] for row in rows]
    sizes = ", ".join(f"{row.results['container_bytes']:,}" for row in rows)
    after = ", ".join(f"{row.results['error_after']:.2f}" for row in rows)
    first, which = rows[0], f"the worst of {len(rows)} seeds"
    note = f"{which}; LeNet-5 (Caffe) on MNIST, {sizes} bytes, whole files without their graph of "
    note += f"{first.results['graph_bytes']} bytes; {first.description.removesuffix(' --seed 0')}"
    text = f"{which}; test error of the decoded ONNX {after} %, of the checkpoint {first.results['error_before']:.2f} %"
    return {
        "lenet5_ratio": Headline(min(ratios), "x", ">= 100", note, spread(ratios)),
        "lenet5_error_increase": Headline(max(errors), "pt", "<= 0.3", text, spread(errors)),
    }


def _onnx(table: list[Row]) -> dict[str, Headline]:
    measured: list[dict[str, Any]] = [row.results for row in table if "onnx_speedup" in row.results]
    r = next(row.results for row in table if row.name == "resnet20_c10j_energy" and "onnx_speedup" in row.results)
    sizes = r["onnx_bytes"]
    note = f"ResNet-20 with half of its parameters pruned, {sizes['whole']:,} -> {sizes['removed']:,} bytes of ONNX, "
    note += "onnxruntime, one thread, batch 1, medians of 7 turns"
    others = {row.name: row.results["onnx_speedup"] for row in table if "onnx_speedup" in row.results}
    named = {"resnet20_c10j_magnitude": "ResNet-20, magnitude", "lenet5_mnist_energy": "LeNet-5, energy"}
    note += "".join(f"; {text} {others[name]:.2f}x" for name, text in named.items() if name in others)
    text = f"logits of {len(measured)} networks with units removed in onnxruntime, against the masked ones in PyTorch"
    worst = max(m["onnx_max_abs_error"] for m in measured)
    return {
        "pruned_onnx_speedup": Headline(r["onnx_speedup"], "x", "> 1", note, r["onnx_speedup_sd"]),
        "pruned_max_abs_error": Headline(worst, "", "<= 1e-4", text),
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
