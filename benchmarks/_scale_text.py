"""Rows of the suite `scale` on a decoder that is trained here: what perplexity costs at so many bits a weight."""

import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from _decoder import texts, train
from result import Headline, Results, Row, median, spread

import qacomp

_BARS = {"3": 1.02, "2.5": 1.06}  # bits of the whole file a weight -> perplexity over fp32's
_WAYS = {"false": "uniform", "auto": "trellis"}  # --sharing rate:trellis= -> how the weights are rounded
_GIVEN = 256  # windows


def decoder_rows(seeds: int) -> Results:
    """Perplexity of a small decoder at 3 and 2.5 bits a weight, calibrated on texts that it was trained on."""
    ratios: dict[tuple[str, str], list[float]] = {key: [] for key in product(_BARS, _WAYS)}
    rows = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory(prefix="qacomp-decoder-") as place:
            root = Path(place)
            told = train(root / "net", seed)
            given, held = texts()
            rng = np.random.default_rng(seed)
            np.savez(root / "given.npz", input_ids=rng.permutation(given)[:_GIVEN])
            np.savez(root / "held.npz", input_ids=rng.permutation(held)[:_GIVEN])
            for bits, way in product(_BARS, _WAYS):
                done = qacomp.compress(
                    root / "net",
                    output=root / "net.qac",
                    calibration=f"npz:{root / 'given.npz'}",
                    data=f"npz:{root / 'held.npz'}",
                    target_size=f"{bits}bpw",
                    sharing=f"rate:trellis={way}",
                    min_size=1,
                    force=True,
                )
                metric = done.metric
                assert metric is not None
                ratios[bits, way].append(metric.decoded / metric.original)
                kind = f"{bits}_{_WAYS[way]}"
                told |= {f"bytes_{kind}": done.container_bytes, f"perplexity_{kind}": metric.decoded}
                told |= {"perplexity": metric.original}
            rows.append(Row(f"decoder_{seed}", "a decoder of bytes, three blocks of 96", {"seed": seed}, told))
    note = (
        "perplexity on held-back text over fp32's, of a file of {} bits a weight on a trellis, calibrated on 256 texts "
    )
    note += "of 128 bytes; on uniform grids {:.3f}"
    return rows, {
        f"decoder_ppl_ratio_{bits.replace('.', '_')}": Headline(
            median(ratios[bits, "auto"]),
            "x",
            f"<= {bar}",
            note.format(bits, median(ratios[bits, "false"])),
            spread(ratios[bits, "auto"]),
        )
        for bits, bar in _BARS.items()
    }
