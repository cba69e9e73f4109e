"""Build the sections of the page, from top to bottom; a section is markup, or "" if there is nothing to show."""

from qacomp.report.charts import outside, size_name, tradeoff_chart, training_chart, weights_chart
from qacomp.report.contents import Contents, TensorRow
from qacomp.report.markup import block, number, pairs, section, shape_of, text
from qacomp.report.stated import Agreed

MOST_CHARTS = 24


def headline(c: Contents) -> str:
    """Return the most important figures, for somebody who reads nothing else."""
    a = c.accuracy
    final = a.get("decoded", a.get("tuned"))
    figures = [
        (
            f"{c.ratio:.1f}×",
            "smaller than the source",
            f"{size_name(c.source_bytes)} to {size_name(c.container_bytes)}; {c.fp32_ratio:.1f}× than fp32",
        ),
        (f"{c.container_bytes:,}", "bytes in the container", f"{c.bits_per_weight:.2f} bits per weight, all included"),
    ]
    if final is not None:
        change = f"{final - a['original']:+.2f} points from {a['original']:.2f} %" if "original" in a else "of the file"
        figures.append((f"{final:.2f} %", "top-1 accuracy", change.replace("-", "−")))
    for name, median, tail in c.latency[:1]:
        figures.append((f"{median:.2f} ms", "median latency", f"{tail:.2f} ms at the 95th percentile; {name}"))
    told = [(o.cosine, o.name) for o in c.agreement if o.cosine is not None]
    if final is None and told:
        worst, name = min(told)
        figures.append((f"{worst:.6f}", "cosine with the original's output", f"the worst, {name[:40]}"))
    if c.verdict is not None:
        tries = f"try {c.verdict.advice}; " if c.verdict.advice else ""
        figures.append((c.verdict.word, "verdict", f"{tries}reasons below"))
    shared = [row for row in c.tensors if row.k is not None]
    figures.append((str(len(shared)), "tensors shared", f"of {len(c.tensors)} in the file"))
    return (
        '<dl class="figures">'
        + "".join(
            f"<div><dd>{text(value)}</dd><dt>{text(name)}</dt><dd class='small'>{text(more)}</dd></div>"
            for value, name, more in figures
        )
        + "</dl>"
    )


def sizes(c: Contents) -> str:
    """Return a bar for the bytes of each form of the weights, all on one scale."""
    most = max(stage.bytes for stage in c.stages) or 1
    rows = []
    for stage in c.stages:
        parts = stage.parts or ((stage.name, stage.bytes),)
        bar = "".join(
            f'<span class="part p{i % 4}" style="width:{100 * size / most:.3f}%" title="{text(name)}: {size:,} bytes">'
            "</span>"
            for i, (name, size) in enumerate(parts)
        )
        detail = "; ".join(f"{name} {size:,}" for name, size in stage.parts)
        detail = "; ".join(part for part in (detail, stage.remark) if part)
        rows.append(
            f'<div class="stage"><div class="what">{text(stage.name)}</div><div class="bar">{bar}</div>'
            f'<div class="bytes">{stage.bytes:,} <span class="times">{c.source_bytes / max(1, stage.bytes):.1f}×</span>'
            f"</div>{f'<div class=detail>{text(detail)}</div>' if detail else ''}</div>"
        )
    return section(
        "sizes",
        "Size through the stages",
        f'<div class="stages">{"".join(rows)}</div>',
        "Bytes of each form of the weights. All bars have the same scale.",
    )


def accuracy(c: Contents) -> str:
    """Return a table with the accuracy after each stage, and a chart of accuracy against size."""
    if not c.accuracy:
        return ""
    meaning = {
        "original": "the original checkpoint",
        "fine_tuned": "after fine-tuning, in full precision",
        "shared": "right after sharing its weights",
        "tuned": "after tuning the shared values",
        "decoded": "the decoded file in onnxruntime",
        "chance": "guessing; the original is no better",
    }
    first = c.accuracy.get("original")
    rows = "".join(
        f"<tr><th scope=row>{name.replace('_', '-')}</th><td class=words>{meaning[name]}</td><td>{value:.2f} %</td>"
        f"<td>{'' if first is None or name == 'original' else f'{value - first:+.2f}'.replace('-', '−')}</td></tr>"
        for name, value in c.accuracy.items()
    )
    table = (
        '<div class="scroll"><table><thead><tr><th scope=col>stage</th><th scope=col class=words>what</th>'
        f"<th scope=col>top-1</th><th scope=col>change</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
    chart = tradeoff_chart(c.points)
    figure = f"<figure class=wide>{chart}<figcaption>Accuracy against size.</figcaption></figure>" if chart else ""
    return section("accuracy", "Accuracy", table + figure, "Top-1 on the test split, which isn't used for any choice.")


def submodels(c: Contents) -> str:
    """Return a table of the networks in the container: levels of precision, exits or widths."""
    rows = "".join(
        f"<tr><th scope=row>{text(p.name, 80)}</th><td>{p.bytes:,}</td>"
        f"<td>{c.source_bytes / max(1, p.bytes):.1f}×</td><td>{number(p.macs, 0)}</td>"
        f"<td>{number(p.accuracy, 2, ' %')}</td></tr>"
        for p in c.submodels
    )
    table = (
        '<div class="scroll"><table><thead><tr><th scope=col class=words>network</th><th scope=col>bytes to fetch</th>'
        "<th scope=col>smaller</th><th scope=col>multiply-adds</th><th scope=col>top-1</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )
    lead = "One file has all of these networks; each can be decoded from its bytes to fetch alone."
    return section("points", "Operating points", table if rows else "", lead)


def verdict(c: Contents) -> str:
    """Return the verdict (good, doubtful, broken or not measured), with the reasons and what to try next."""
    if c.verdict is None:
        return ""
    reasons = "".join(f"<li>{text(reason)}</li>" for reason in c.verdict.reasons)
    tries = f"<p>Try {text(c.verdict.advice)}.</p>" if c.verdict.advice else ""
    colour = "".join(letter for letter in c.verdict.word if letter.isalpha())
    word = f'<p class="verdict {colour}">{text(c.verdict.word)}</p>'
    lead = "Follows from the agreement of outputs, errors at operators and accuracy; thresholds: docs/verdict.md."
    return section("verdict", "Verdict", f"{word}<ul>{reasons}</ul>{tries}", lead)


def agreement(c: Contents) -> str:
    """Return a table that compares each output with the original model's, on generated or given inputs."""
    rows = "".join(
        f"<tr><th scope=row>{text(o.name, 120)}{_why_not(o)}</th><td>{number(o.cosine, 6)}</td>"
        f"<td>{number(o.centred, 6)}</td><td>{o.max_abs_error:.3g}</td><td>{number(o.top1, 2, ' %')}</td></tr>"
        for o in c.agreement
    )
    table = (
        '<div class="scroll"><table><thead><tr><th scope=col class=words>output</th><th scope=col>cosine</th>'
        "<th scope=col>centred over inputs</th><th scope=col>largest difference</th><th scope=col>same top-1</th>"
        "</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )
    lead = "Outputs of the original and of the decoded model on the same inputs."
    if c.metric is not None:
        name, before, after = c.metric
        lead += f" On the data, {text(name, 60)}: original {before:.6g}, decoded {after:.6g}."
    return section("agreement", "Agreement with the original", table if rows else "", lead)


def _why_not(output: Agreed) -> str:
    return f"<small>not measured: {text(output.unmeasured, 160)}</small>" if output.unmeasured else ""


def layers(c: Contents) -> str:
    """Return tables of the shared tensors, and of the others with the reason why they aren't shared."""
    shared = [row for row in c.tensors if row.k is not None]
    kept = [row for row in c.tensors if row.k is None]
    most = max([1.0, *(row.bits for row in shared), *(row.entropy or 0 for row in shared)])
    body = "".join(_shared_row(row, most) for row in shared)
    heads = "".join(
        f"<th scope=col{' class=words' if i in (0, 3) else ''}>{name}</th>"
        for i, name in enumerate(
            ("tensor", "shape", "K", "codec", "bytes", "bits/weight", "entropy", "", "error", "at its operator")
        )
    )
    table = f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    markup = table if shared else "<p>No tensor is shared.</p>"
    if kept:
        rows = "".join(
            f"<tr><th scope=row>{text(row.name, 120)}</th><td>{shape_of(row.shape)}</td><td>{text(row.dtype)}</td>"
            f"<td>{row.bytes:,}</td><td class=words>{text(row.note or 'kept dense')}</td></tr>"
            for row in kept
        )
        markup += (
            f"<details><summary>{len(kept)} tensors not shared, {sum(r.bytes for r in kept):,} bytes</summary>"
            '<div class="scroll"><table><thead><tr><th scope=col class=words>tensor</th><th scope=col>shape</th>'
            "<th scope=col>type</th><th scope=col>bytes</th><th scope=col class=words>why</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div></details>"
        )
    lead = (
        "Bits per weight as stored, codebook included. The mark in each bar is the order-0 entropy of the indices;"
        " context coding can need fewer bits. Bytes of tensors that are coded together are divided by these entropies."
        " Error: RMS of the weights' change divided by the RMS of the original weights. At its operator: the change of"
        " the operator's output relative to that output, on the original model's activations."
    )
    return section("layers", "Layers", markup, lead)


def weights(c: Contents) -> str:
    """Return a chart for each of the largest shared tensors, at most 24."""
    shared = sorted((row for row in c.tensors if row.levels), key=lambda row: -row.values)
    drawn = {row.name for row in shared[:MOST_CHARTS]}
    figures = [
        f"<figure><figcaption><b>{text(row.name, 60)}</b><span>{shape_of(row.shape)}, "
        f"K = {row.used}{f', {far} not drawn' if (far := outside(row)) else ''}</span></figcaption>{chart}</figure>"
        for row in c.tensors
        if row.name in drawn and (chart := weights_chart(row))
    ]
    if not figures:
        return ""
    seen = any(row.history for row in shared)
    later = any(len(row.history) > 2 for row in shared)
    key = '<span class="k-level">shared values; length: share of the weights</span>'
    if seen:
        key = (
            '<span class="k-before">original weights</span>'
            + ('<span class="k-during">half-way</span><span class="k-after">fine-tuned</span>' if later else "")
            + key
        )
    more = f"<p class=note>The {len(drawn)} largest of {len(shared)} shared tensors.</p>" * (len(shared) > len(drawn))
    lead = "Each histogram is scaled to its own peak." if seen else ""
    return section(
        "weights", "Weights", f'<p class="key">{key}</p><div class="grid">{"".join(figures)}</div>{more}', lead
    )


def training(c: Contents) -> str:
    """Return charts of the loss, the penalty and the validation accuracy over the epochs."""
    metric = next((r.metric for r in c.training), "accuracy")
    validation = "Validation accuracy, %" if metric == "accuracy" else f"Validation {text(metric)}"
    kinds = (
        ("Task loss", [r.loss for r in c.training]),
        ("Penalty, λ·R", [r.penalty for r in c.training]),
        (validation, [r.measured if r.validated else 0.0 for r in c.training]),
    )
    figures = "".join(
        f"<figure><figcaption><b>{name}</b></figcaption>{chart}</figure>"
        for name, values in kinds
        if any(values) and (chart := training_chart(c.training, name, values))
    )
    return section(
        "training", "Training", f'<div class="grid">{figures}</div>' if figures else "", "Mean over each epoch."
    )


def time(c: Contents) -> str:
    """Return the latency of the decoded model, and the seconds that each stage of the compression took."""
    rows = "".join(
        f"<tr><th scope=row>{text(name)}</th><td>{median:.3f} ms</td><td>{tail:.3f} ms</td></tr>"
        for name, median, tail in c.latency
    )
    table = (
        '<div class="scroll"><table><thead><tr><th scope=col class=words>inference</th><th scope=col>median</th>'
        f"<th scope=col>95th percentile</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
    spent = pairs((name, f"{seconds:.1f} s") for name, seconds in c.seconds.items())
    return section("time", "Time", (table if rows else "") + (f'<dl class="facts">{spent}</dl>' if spent else ""))


def provenance(c: Contents) -> str:
    """Return the origin of the container and of its source, and the settings that reproduce it."""
    again = ""
    if c.settings.strip():
        again = (
            "<details><summary>Settings to reproduce it (qacomp compress --config)</summary>"
            f"<pre>{block(c.settings)}</pre></details>"
        )
    return section(
        "provenance",
        "Provenance",
        f'<dl class="facts">{pairs(c.facts)}</dl>{again}<h3>Machine of this report</h3>'
        f'<dl class="facts">{pairs(c.environment)}</dl>',
    )


def remarks(c: Contents) -> str:
    """Return the notes of the run and of the report as a list."""
    lines = "".join(f"<li>{text(remark)}</li>" for remark in c.remarks)
    return section("remarks", "Remarks", f"<ul>{lines}</ul>" if lines else "")


def _shared_row(row: TensorRow, most: float) -> str:
    entropy = row.entropy or 0.0
    bar = (
        f'<span class="bits"><span style="width:{100 * row.bits / most:.1f}%"></span>'
        f'<i style="left:{100 * entropy / most:.1f}%"></i></span>'
    )
    why = f"<small>{text(row.reason, 160)}</small>" if row.reason else ""
    k = str(row.k) if row.k == row.used else f"{row.used} of {row.k}"
    k += f"<small>per block of {shape_of(row.blocks)}</small>" if row.blocks else ""
    error = None if row.error is None else 100 * row.error
    return (
        f"<tr><th scope=row>{text(row.name, 120)}</th><td>{shape_of(row.shape)}</td><td>{k}</td>"
        f"<td class=words>{text(row.codec)}{why}</td><td>{row.bytes:,}</td><td>{number(row.bits)}</td>"
        f"<td>{number(row.entropy)}</td><td class=chart>{bar}</td><td>{number(error, 1, ' %')}</td>"
        f"<td>{number(row.error_db, 1, ' dB')}<small>{text(row.error_of)}</small></td></tr>"
    )
