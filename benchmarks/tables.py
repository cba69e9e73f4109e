"""Write the tables of README and docs from benchmarks/results: python benchmarks/tables.py [--check].

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a function below. With --check nothing is
written, and the exit code is 1 where a file is stale.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import _papers_page
import _regularizers_pay

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documents() -> list[Path]:
    """The files that hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def load(suite: str) -> dict[str, Any]:
    """One suite's document."""
    loaded: dict[str, Any] = json.loads((RESULTS / f"{suite}.json").read_text(encoding="utf-8"))
    return loaded


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns but the first are right-aligned."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def end_to_end() -> str:
    """Sizes and accuracies of the whole chain."""
    rows = []
    for row in load("end_to_end")["rows"] + load("recipes")["rows"]:
        r = row["results"]
        accuracies = [f"{r[name]:.2f} %" for name in ("original", "shared", "tuned", "decoded")]
        sizes = [f"{r['checkpoint_bytes']:,}", f"**{r['container_bytes']:,}**", f"{r['ratio']:.1f}×"]
        rows.append([row["description"], *sizes, *accuracies])
    return table(["network", "fp32 bytes", ".qac bytes", "smaller", "original", "shared", "tuned", "decoded"], rows)


def first_commands() -> str:
    """Return what two commands print."""
    return "```text\n" + load("first_commands")["rows"][0]["results"]["printed"].rstrip("\n") + "\n```\n"


def instead() -> str:
    """Return what users do now, beside what was measured in its place."""
    suites = (load(path.stem)["headlines"] for path in sorted(RESULTS.glob("*.json")))
    found = {key: headline["value"] for headlines in suites for key, headline in headlines.items()}
    k4 = next(row["results"] for row in load("recipes")["rows"] if row["name"] == "resnet20_k4")
    ratio, points = _regularizers_pay.straight_through(load("regularizers"))
    loss = f"{k4['original'] - k4['decoded']:.2f} points of accuracy"
    rows = [
        ["the fp32 checkpoint", f"ResNet-20 in {k4['ratio']:.1f}× fewer bytes, for {loss}"],
        [
            "k-means after training",
            f"`--sharing straight-through`: {ratio:.1f}× the accuracy after sharing; {points:.1f} points more than "
            "`--reg exp --sharing after`, after tuning (mean of three networks, hardest K)",
        ],
        [
            "xz -9e or zstd -19 on packed indices",
            f"at most {found['context_vs_best_general']:.1%} of the bytes of the smaller one (three networks)",
        ],
        [
            "scikit-learn's KMeans on weights",
            f"{found['kmeans_speedup_k16']:.0f}× less CPU time at K = 16, inertia no larger",
        ],
        [
            "an fp32 ONNX file",
            f"`decode --onnx lut`: at most {found['lut_file_ratio_k16']:.1%} of its bytes at K = 16, outputs off by "
            f"{found['lut_max_abs_error']:g}",
        ],
        ["a file for each precision", f"one file with three: {found['ladder_vs_separate']:.1%} of the bytes"],
    ]
    lines = [["in place of", "measured here"], ["---", "---"], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def record() -> str:
    """Bytes and drops of the smallest files, beside NNCodec's smallest at the same drop."""
    rows = []
    for row in load("record")["rows"]:
        r = row["results"]
        if "drop" not in r:  # rows of ONNX models without data have other figures
            continue
        peer = f"{r['nncodec_bytes']:,}" if r["nncodec_bytes"] else "none so good" if r["nncodec"] else "not run"
        sizes = [f"**{max(r['bytes']):,}**", f"{max(r['graph_bytes']):,}"]
        drops = ", ".join(f"{drop:+.2f}" for drop in r["drop"])
        rows.append([row["description"], *sizes, f"{r['original'][0]:.2f} %", drops, peer, str(max(r["seconds"]))])
    sizes = [".qac bytes", "of them graph"]
    return table(["network, setting", *sizes, "original", "drop, each seed", "NNCodec bytes", "seconds"], rows)


def regularizers() -> str:
    """Accuracy before -> after tuning by network, scope, K and method; the ratio before tuning to k-means'."""
    every = ("kmeans", "fine-tuned kmeans", "sin", "cos", "min", "exp", "straight-through", "exp + straight-through")
    found = load("regularizers")["rows"]
    methods = [m for m in every if all(f"{m} pre-tuning" in row["results"] for row in found)]
    rows = []
    for row in found:
        r, s = row["results"], row["settings"]
        cells = []
        for method in methods:
            sd = "" if r[f"{method} pre-tuning sd"] is None else f" ± {r[f'{method} pre-tuning sd']:.1f}"
            ratio = "" if method == "kmeans" else f" ({r[f'{method} ratio']:.2f}×)"
            cells.append(f"{r[f'{method} pre-tuning']:.1f}{sd} → {r[f'{method} post-tuning']:.1f}{ratio}")
        rows.append([f"{s['arch']}, {s['scope']}", str(s["k"]), f"{r['original']:.1f}", *cells])
    return table(["network, scope", "K", "original", *methods], rows)


def regularizers_pay() -> str:
    """Return where a regularizer pays: points of accuracy after tuning, by network and K, all layers shared."""
    header = ["network", "K", "best regularizer", "over k-means", "straight-through over it"]
    rows = _regularizers_pay.rows(load("regularizers"))
    return table([*header, "exp + straight-through over straight-through"], rows)


def sinreq() -> str:
    """SinReQ's table 1: test accuracy by network and bits."""
    rows = []
    for row in load("sinreq")["rows"]:
        r, cells = row["results"], []
        for label in ("dorefa", "dorefa + sinreq", "wrpn", "wrpn + sinreq"):
            cells.append(f"{r[label]:.2f}" + ("" if r[f"{label} sd"] is None else f" ± {r[f'{label} sd']:.2f}"))
        gains = [f"{r[f'{q} gain']:+.2f}" for q in ("dorefa", "wrpn")]
        settings = row["settings"]
        rows.append([settings["arch"], str(settings["bits"]), f"{r['full precision']:.2f}", *cells, *gains])
    header = ["network", "bits", "fp32", "DoReFa", "DoReFa + SinReQ", "WRPN", "WRPN + SinReQ"]
    return table([*header, "gain DoReFa", "gain WRPN"], rows)


def pruning() -> str:
    """EPruning's table 1: means over seeds of loss, top-1, top-3, top-5, R and parameters."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in load("pruning")["rows"]:
        if "P" in row["results"]:
            groups.setdefault(row["name"], []).append(row)
    names = {"original": "as it came", "magnitude": "magnitude per filter", "energy": "EPruning, near magnitude"}
    names["energy_random"] = "EPruning, random start"
    rows = []
    for name, group in groups.items():
        arch = group[0]["description"].split(",")[0]
        method = names[next(m for m in sorted(names, key=len, reverse=True) if name.endswith(f"_{m}"))]
        for part in ("F", "P"):
            if part not in group[0]["results"]:
                continue
            found = [row["results"] for row in group]
            cells = [_mean([r[part][k] for r in found], 4 if k == "loss" else 2) for k in _COLUMNS]
            kept = ["100", f"{found[0].get('parameters', 0):,}"]
            if "F" in found[0] and part == "F":
                kept = ["100", "all"]
            elif "parameters_left" in found[0]:
                parameters = sum(r["parameters"] for r in found) / len(found)
                kept = [_mean([r["R"] for r in found], 2), f"{parameters:,.0f}"]
            label = f" ({part})" if "F" in group[0]["results"] else ""
            rows.append([f"{arch}, {method}{label}", *cells, *kept, str(len(group))])
    return table(["network", "loss", "top-1", "top-3", "top-5", "R", "#p", "seeds"], rows)


_COLUMNS = ("loss", "top1", "top3", "top5")


def _mean(values: list[float], digits: int) -> str:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    sd = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def onnx_files() -> str:
    """Files of the ONNX suite's real models: the container, dense and looked up."""
    rows = []
    for row in load("onnx")["rows"]:
        r = row["results"]
        if "lut_bytes" in r and row["settings"]["k"] in (16, 256):
            sizes = [f"{r[name]:,}" for name in ("dense_bytes", "container_bytes", "lut_bytes")]
            error, load_ratio = f"{r['lut_max_abs_error']:.3g}", f"{r['load_ratio']:.2f}×"
            ratio, cosine = f"**{r['file_ratio']:.3f}**", f"{r['min_cosine']:.5f}"
            rows.append([row["description"], *sizes, ratio, error, load_ratio, cosine])
    header = ["model", "dense ONNX", ".qac", "look-up ONNX", "of dense", "largest difference", "load", "worst cosine"]
    return table(header, rows)


def onnx_grids() -> str:
    """Affine grids of the ONNX suite: bits, outputs against the original's, speed."""
    rows = []
    for row in load("onnx")["rows"]:
        r = row["results"]
        if row["name"].startswith("grid_"):
            cells = [f"`{row['settings']['codebook']}`", f"{r['bits_per_weight']:.2f}", f"{r['file_ratio']:.3f}"]
            cells += [f"{r['weights_max_abs_error']:.3g}", *(f"{r['cosine'][n]:.5f}" for n in ("fp32", "default"))]
            rows.append([*cells, *(f"{r['speedup'][n]:.2f}×" for n in ("fp32", "default"))])
    levels = ["level 0", "default level"]
    header = ["grid", ".qac bits a weight", "ONNX of dense", "weights off"]
    return table([*header, *(f"cosine, {n}" for n in levels), *(f"speed, {n}" for n in levels)], rows)


def ipkd() -> str:
    """The IPKD-TA paper's tables I and II, and the precision ladder: mean accuracy of each sub-model by training."""
    text = ""
    for network in ("msdnet", "slimmable_mobilenet", "ladder"):
        found = [r for r in load("ipkd")["rows"] if r["name"].startswith(f"{network}_") and "mean" in r["results"]]
        parts = [part for part in found[0]["results"] if part not in ("mean", "printed_mean")]
        parts.sort(key=lambda part: float(re.sub(r"[^0-9.]", "", part) or "inf"))  # smallest first, full last
        rows = []
        for row in found:
            r = row["results"]
            cells = [f"{statistics.mean(r[part]):.2f}" for part in parts]
            spread = f" ± {statistics.stdev(r['mean']):.2f}" if len(r["mean"]) > 1 else ""
            printed = f"{r['printed_mean']:.2f}" if "printed_mean" in r else ""
            rows.append([row["description"], *cells, f"{statistics.mean(r['mean']):.2f}{spread}", printed])
        text += table(["training", *parts, "mean", "the paper's mean"], rows) + "\n"
    return text


def rounding() -> str:
    """Accuracy and bytes of sharing without data, by K: nearest and balanced."""
    lines = [["network", "K", "original", "nearest", "balanced", "gain", "bytes"], ["---", *["---:"] * 6]]
    for row in load("rounding")["rows"]:
        r = row["results"]
        for k, a, b, size in zip(r["k"], r["nearest"], r["balanced"], r["balanced_bytes"], strict=True):
            lines.append([row["description"], str(k), f"{r['original']:.2f}", f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}"])
            lines[-1].append(f"{size:,}")
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


TABLES = {
    "record": record,
    "rounding": rounding,
    "pruning": pruning,
    "end_to_end": end_to_end,
    "first_commands": first_commands,
    "instead": instead,
    "regularizers": regularizers,
    "regularizers_pay": regularizers_pay,
    "sinreq": sinreq,
    "ipkd": ipkd,
    "onnx_files": onnx_files,
    "onnx_grids": onnx_grids,
}


def _digits(value: float) -> str:
    """Four digits, or those after the nines: 0.99989 isn't 0.9999."""
    return f"{value:.6f}" if 0.999 < value < 1 else f"{value:.4g}"


def headlines(suite: str) -> str:
    """A suite's headline figures beside their bars."""
    rows = []
    for key, h in load(suite)["headlines"].items():
        value = "skipped" if h["value"] is None else f"{_digits(h['value'])} {h['unit']}".strip()
        sd = "" if h["sd"] is None else f" ± {h['sd']:.2g}"
        rows.append([f"`{key}`", value + sd, h["bar"], h["note"]])
    return "".join(
        "| " + " | ".join(line) + " |\n" for line in [["figure", "measured", "bar", "how"], ["---"] * 4, *rows]
    )


def render(name: str) -> str:
    """The table called `name`: one of TABLES, papers_NAME, or headlines_SUITE."""
    if name.startswith("papers_"):
        return _papers_page.section(load("papers")["rows"], name.removeprefix("papers_"))
    return TABLES[name]() if name in TABLES else headlines(name.removeprefix("headlines_"))


def main() -> int:
    """Rewrite, or check, every document."""
    stale = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        fresh = MARK.sub(lambda m: m[1] + render(m[2]) + m[3], text)
        if fresh != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(fresh, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print(f"stale: {', '.join(stale)}; run make tables")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
