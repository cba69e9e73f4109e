"""Choosing a section's codec: every one that may is tried, the smallest wins, and the report says so."""

from collections.abc import Sequence
from dataclasses import dataclass

from qacomp.formats.budget import affordable
from qacomp.formats.codecs import CODECS, Codec, Stream, standard_codecs
from qacomp.formats.codecs.base import Array, Kind, sample

_SAMPLE = 1 << 17
_FULL_TRIAL = 1 << 18
_HOPELESS = 1.03


@dataclass(frozen=True)
class Choice:
    """The winner's bytes, and what every candidate took (on a long section, losers are scaled up from a sample)."""

    codec: Codec
    payload: bytes
    candidates: dict[str, int]
    reason: str


def choose(kind: Kind, parts: Sequence[Array], streams: Sequence[Stream], names: Sequence[str] | None = None) -> Choice:
    """Code the streams with each of SPEC.md's codecs, or those named; keep the smallest, the lower id of equals."""
    tried = standard_codecs() if names is None else names
    codecs = [c for _, c in sorted(CODECS.items()) if kind in c.kinds and c.name in tried]
    total = sum(stream.count for stream in streams)
    sizes: dict[str, int] = {}
    trials = list(codecs)
    if total > _FULL_TRIAL and len(codecs) > 1:
        sample_parts, sample_streams = sample(parts, streams, _SAMPLE)
        scale = total / max(sum(s.count for s in sample_streams), 1)
        for codec in (c for c in codecs if not c.samples):
            coded = codec.encode(sample_parts, sample_streams)
            if coded is not None:
                sizes[codec.name] = round(len(coded) * scale)
        best = min(sizes.values())
        trials = [c for c in codecs if c.samples or sizes.get(c.name, best * 2) <= best * _HOPELESS]
    winner: tuple[int, int, Codec, bytes] | None = None
    rest = sorted((c for c in codecs if c not in trials), key=lambda codec: (sizes.get(codec.name, 0), codec.id))
    for codec in (*trials, *rest):
        if winner is not None and codec in rest:
            break  # they are only needed where no reader could afford what the sample promised
        coded = codec.encode_below(parts, streams, winner[0] if winner else 1 << 62)
        if coded is None or not (codec.name == "raw" or affordable(codec, coded, streams)):
            continue
        sizes[codec.name] = len(coded)
        if winner is None or len(coded) < winner[0]:
            winner = (len(coded), codec.id, codec, coded)
        if not coded:
            break  # nothing is smaller: of one symbol alone, say
    assert winner is not None, "raw holds everything"
    others = sorted((size, name) for name, size in sizes.items() if name != winner[2].name)
    reason = f"{winner[2].name} is smallest: {winner[0]} bytes"
    if others:
        reason += f", next {others[0][1]} with {others[0][0]}"
    return Choice(winner[2], winner[3], dict(sorted(sizes.items())), reason)
