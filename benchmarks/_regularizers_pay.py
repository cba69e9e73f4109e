"""Say from the regularizers' results where a regularizer pays, and where straight-through sharing is better."""

import statistics
from typing import Any

_ALONE = ("sin", "cos", "min", "exp")


def rows(document: dict[str, Any]) -> list[list[str]]:
    """Return a row for each network and K, all layers shared; differences are points of accuracy after tuning.

    The best regularizer over k-means, straight-through sharing over that, and exp with straight-through sharing over
    straight-through sharing alone.
    """
    found = []
    for row in document["rows"]:
        r, s = row["results"], row["settings"]
        if s["scope"] != "all":
            continue
        best = max(_ALONE, key=lambda name: r[f"{name} post-tuning"])
        alone, through = r[f"{best} post-tuning"], r["straight-through post-tuning"]
        both = r["exp + straight-through post-tuning"]
        points = [alone - r["kmeans post-tuning"], through - alone, both - through]
        found.append([s["arch"], str(s["k"]), best, *(f"{p:+.2f}" for p in points)])
    return found


def straight_through(document: dict[str, Any]) -> tuple[float, float]:
    """Return straight-through sharing's accuracy over k-means', and its points over exp, at each network's hardest K.

    Both are means over the networks, all layers shared: the ratio right after sharing, the points after tuning.
    """
    hardest: dict[str, dict[str, Any]] = {}
    for row in document["rows"]:
        s = row["settings"]
        if s["scope"] == "all" and s["k"] <= hardest.get(s["arch"], row)["settings"]["k"]:
            hardest[s["arch"]] = row
    results = [row["results"] for row in hardest.values()]
    ratio = statistics.mean(r["straight-through ratio"] for r in results)
    return ratio, statistics.mean(r["straight-through post-tuning"] - r["exp post-tuning"] for r in results)
