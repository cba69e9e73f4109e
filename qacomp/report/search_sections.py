"""Build the sections on a rate-aware compression: each layer's bytes and sensitivity, the front, what to try next."""

from qacomp.rate.record import RateSearch, Sensitivity
from qacomp.report.contents import Contents, TensorRow
from qacomp.report.front_chart import front_chart
from qacomp.report.markup import number, section, text

_MOST_LAYERS = 60
_BITS_OF_KILOBYTE = 8000


def next_steps(c: Contents) -> str:
    """Return the command lines to try next, each with the figures that speak for it."""
    items = "".join(f"<li>{text(why)}<pre>{text(command, 2000)}</pre></li>" for command, why in c.next_steps)
    lead = "These follow from what this run measured. Keep the other options of your command."
    return section("next", "What to try next", f"<ul>{items}</ul>" if items else "", lead)


def limits(c: Contents) -> str:
    """Return a table of the limits within which the steps were chosen, with what was reached and the noise."""
    if c.search is None or not c.search.limits:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{text(m.option)}</th><td>{m.asked:.6g}</td><td>{m.reached:.6g}</td>"
        f"<td>{_short(m.noise)}</td><td>{_short(m.reported)}</td><td class=words>{text(m.inputs)}</td></tr>"
        for m in c.search.limits
    )
    names = ("limit", "asked", "reached", "noise", "on other samples", "decided on")
    heads = "".join(f"<th scope=col{' class=words' if i in (0, 5) else ''}>{name}</th>" for i, name in enumerate(names))
    table = f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    lead = (
        "--max-drop limits what is lost of the metric, --min-agreement the cosine of the worst output with the"
        " original's. Noise: two standard errors of the difference between the samples that decided and the others. A"
        " dash: not measured."
    )
    return section("limits", "Limits", table, lead)


def front(c: Contents) -> str:
    """Return a chart and a table of the scales that the search tried, the chosen one marked."""
    if c.search is None or not c.search.trials:
        return ""
    chart = front_chart(c.search)
    figure = f"<figure class=wide>{chart}</figure>" if chart else ""
    rows = "".join(
        f"<tr><th scope=row>{t.scale:.4g}{' (this file)' if t.scale == c.search.chosen else ''}</th>"
        f"<td>{number(t.weight_bytes, 0)}</td><td>{_short(t.distance)}</td></tr>"
        for t in c.search.trials
    )
    table = (
        f"<details><summary>{len(c.search.trials)} scales that were tried</summary>"
        '<div class="scroll"><table><thead><tr><th scope=col class=words>scale of all steps</th><th scope=col>bytes of '
        f"the weights</th><th scope=col>distance</th></tr></thead><tbody>{rows}</tbody></table></div></details>"
    )
    lead = (
        f"{_meaning(c.search)} The large point is this file. Points are scales where both figures were measured; a dash"
        " in the table means not measured. Bytes are those of the shared tensors in a file of their own, and distances"
        " are measured before norms and biases are tuned."
    )
    return section("front", "Scales that were tried", figure + table, lead)


def sensitivities(c: Contents) -> str:
    """Return a bar of bytes for each shared tensor, at most 60, with its sensitivity and its error."""
    if c.search is None:
        return ""
    shared = sorted((row for row in c.tensors if row.k is not None), key=lambda row: -row.bytes)
    shown, known = shared[:_MOST_LAYERS], c.search.sensitivities
    if not shown:
        return ""
    most = max(row.bytes for row in shown) or 1
    loudest = max((known[row.name].per_weight_error for row in shown if row.name in known), default=1.0) or 1.0
    body = "".join(_row(row, known.get(row.name), most, loudest) for row in shown)
    heads = "".join(
        f"<th scope=col{' class=words' if i == 0 else ''}>{name}</th>"
        for i, name in enumerate(
            ("tensor", "bytes", "", "sensitivity", "", "change of outputs for 1 kB", "error at its operator")
        )
    )
    table = f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    left = len(shared) - len(shown)
    more = f"<p class=note>and {left} smaller ones, {sum(r.bytes for r in shared[_MOST_LAYERS:]):,} bytes</p>"
    return section("sensitivity", "Bytes and sensitivity", table + more * (left > 0), _lead(c.search))


def _lead(search: RateSearch) -> str:
    if not search.sensitivities:
        return "Bytes in the file. Sensitivities weren't measured, since no outputs could be compared."
    return (
        "Bytes in the file; those of tensors that are coded together are divided by the entropy of their indices."
        " Sensitivity: change of the outputs divided by the relative squared error of the weight,"
        " measured with this weight alone on its grid while steps were chosen. Change of outputs for 1 kB: what it"
        " costs there to save 1 kB with a wider step; steps are chosen to make it alike for all. A dash: not measured,"
        " since no output depends on it, or since a wider step hardly changes the bits."
        f" Measured on {text(search.inputs)}."
    )


def _meaning(search: RateSearch) -> str:
    if search.of_outputs:
        return f"Distance: Σ|y − ŷ|² / Σ|y − mean y|² of the outputs y, on {text(search.inputs)}."
    return "Distance: the relative squared error of the weights, since no outputs could be compared."


def _row(row: TensorRow, found: Sensitivity | None, most: int, loudest: float) -> str:
    felt = None if found is None else found.per_weight_error
    cost = None if found is None or found.per_bit is None else found.per_bit * _BITS_OF_KILOBYTE
    return (
        f"<tr><th scope=row>{text(row.name, 120)}</th><td>{row.bytes:,}</td><td class=chart>{_bar(row.bytes / most)}"
        f"</td><td>{_short(felt)}</td><td class=chart>{'' if felt is None else _bar(felt / loudest)}</td>"
        f"<td>{_short(cost)}</td><td>{number(row.error_db, 1, ' dB')}<small>{text(row.error_of)}</small></td></tr>"
    )


def _bar(share: float) -> str:
    return f'<span class="bits"><span style="width:{100 * share:.1f}%"></span></span>'


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
