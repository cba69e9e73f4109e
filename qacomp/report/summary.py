"""Show a Result in a notebook as HTML: a few figures and the layers, in the notebook's own colours."""

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qacomp.stages.figures import Figures

_ROWS = 40
_NUMBER = "text-align:right;padding:2px 0 2px 16px;font-variant-numeric:tabular-nums"
_NAME = "text-align:left;padding:2px 0"


def summary_html(result: "Figures") -> str:
    """Return HTML with sizes, accuracy and the shared layers; of more than 40, the largest."""
    a = result.accuracy
    figures = [
        ("source", f"{result.source_bytes:,} bytes"),
        ("container", f"{result.container_bytes:,} bytes"),
        ("smaller", f"{result.ratio:.1f}×"),
        ("than fp32", f"{result.fp32_ratio:.1f}×"),
        ("bits per weight", f"{result.bits_per_weight:.2f}"),
    ]
    stages = (("original", a.original), ("fine-tuned", a.fine_tuned), ("shared", a.shared), ("tuned", a.tuned))
    figures += [(name, f"{value:.2f} %") for name, value in (*stages, ("decoded", a.decoded)) if value is not None]
    cells = "".join(
        f"<div><div style='opacity:.65'>{name}</div><div style='font-weight:600'>{value}</div></div>"
        for name, value in figures
    )
    shared = sorted((layer for layer in result.layers if layer.k is not None), key=lambda layer: -layer.bytes)
    rows = "".join(
        f"<tr><td style='{_NAME}'>{escape(layer.name[:80])}</td>"
        + "".join(
            f"<td style='{_NUMBER}'>{value}</td>"
            for value in (
                "×".join(map(str, layer.shape)),
                layer.k,
                f"{layer.bytes:,}",
                f"{layer.bits_per_weight or 0:.2f}",
                f"{layer.entropy_bits_per_weight or 0:.2f}",
            )
        )
        + "</tr>"
        for layer in shared[:_ROWS]
    )
    heads = "".join(f"<th style='{_NUMBER}'>{n}</th>" for n in ("shape", "K", "bytes", "bits/weight", "entropy"))
    more = f"<div style='opacity:.65'>and {len(shared) - _ROWS} smaller ones</div>" if len(shared) > _ROWS else ""
    return (
        f"<div><div style='display:flex;flex-wrap:wrap;gap:8px 28px;margin:4px 0 12px'>{cells}</div>"
        f"<table style='border-collapse:collapse'><thead><tr><th style='{_NAME}'>layer</th>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{more}</div>"
    )
