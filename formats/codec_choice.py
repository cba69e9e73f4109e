"""Choose a section's codec: try every codec that fits, keep the smallest result, and give the reason."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qacomp.formats.budget import affordable
from qacomp.formats.codecs import CODECS, Codec, Stream, standard_codecs
from qacomp.formats.codecs.base import Array, Kind, sample
from qacomp.formats.codecs.deflate import Deflate
from qacomp.formats.codecs.grids import Grids
from qacomp.formats.codecs.mixing import Mixing
from qacomp.formats.codecs.trellis import Trellis

_SAMPLE = 1 << 16  # values of a sample
_FULL_TRIAL = 1 << 17  # up to this many values every codec is tried on all of them
_LONG_CODEBOOK = 64  # values, from which on nothing but the codec grids is tried for codebooks that are grids
_HOPELESS = 1.03  # a codec whose sample is larger than the best by more than this isn't tried on all values


@dataclass(frozen=True)
class Choice:
    """The chosen codec, its bytes, and the bytes that each candidate takes.

    candidates: bytes by codec name; on a long section, those of a codec that was tried only on a sample are scaled up.
    """

    codec: Codec
    payload: bytes
    candidates: dict[str, int]
    reason: str


LEAVE_OUT = "no-"
"""The prefix of the name of a codec that no part of a file may use: no-zstd."""
ADD = "with-"
"""The prefix of the name of a codec that is tried beside those that are tried anyway: with-mixing."""


def default_codecs() -> tuple[str, ...]:
    """Return the names of the codecs that are tried for tensors where none are named.

    The codec mixing isn't, since readers take several times as long, and more memory, for its few percent.
    """
    return tuple(name for name in standard_codecs() if name not in (Deflate.name, Mixing.name))


def left_out(names: Sequence[str] | None) -> set[str]:
    """Return the codecs that names such as no-zstd leave out."""
    return {name.removeprefix(LEAVE_OUT) for name in names or () if name.startswith(LEAVE_OUT)}


def choose(kind: Kind, parts: Sequence[Array], streams: Sequence[Stream], names: Sequence[str] | None = None) -> Choice:
    """Encode the streams with each codec of SPEC.md, or each named one, and return the smallest; ties: the lower id.

    A name such as no-zstd leaves a codec out, also inside of others.

    The codec deflate is made for texts, so a tensor has it only where it is named.
    """
    tried, out = default_codecs() if names is None else names, left_out(names)
    codecs = [c for _, c in sorted(CODECS.items()) if kind in c.kinds and c.name in tried and c.name not in out]
    if out:
        codecs = [codec.without(out) for codec in codecs]
    found = _grids_alone(codecs, parts, streams) if kind == "values" else _along_paths(codecs, parts, streams)
    if found is not None:
        return found
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
        limits = {c: best if c.repetitions and kind == "indices" else best * _HOPELESS for c in codecs}
        trials = [c for c in codecs if c.samples or (c.name in sizes and sizes[c.name] <= limits[c])]
        trials.sort(key=lambda c: (c.samples or bool(c.gain), 0 if c.samples or c.gain else sizes[c.name], c.id))
    winner: _Candidate | None = None
    sampler = _sampler(trials) if len(trials) < len(codecs) else None
    if sampler is not None:
        trials.remove(sampler)
        least = math.floor(sum(map(_entropy_bits, parts)) / 8)
        coded = sampler.encode_below(parts, streams, least)
        if coded is not None and affordable(sampler, coded, streams):
            winner, sizes[sampler.name] = _Candidate(sampler, coded), len(coded)
            if len(coded) <= least:
                trials = [codec for codec in trials if not codec.order0]
    rest = sorted((c for c in codecs if c not in trials), key=lambda codec: (sizes.get(codec.name, 0), codec.id))
    for codec in (*trials, *rest):
        if winner is not None and codec in rest:
            break  # the rest is tried only if readers would refuse every codec that did well on the sample
        most = len(winner.payload) - codec.gain if winner else 1 << 62
        coded = codec.encode_below(parts, streams, most)
        if coded is None or not (codec.name == "raw" or affordable(codec, coded, streams)):
            continue
        sizes[codec.name] = len(coded)
        if winner is None or len(coded) < most:
            winner = _Candidate(codec, coded)
        if not coded:
            break  # an empty payload can't be beaten; an alphabet of one symbol gives one
    assert winner is not None, "the codec raw takes every stream"
    others = sorted((size, name) for name, size in sizes.items() if name != winner.codec.name)
    reason = f"{winner.codec.name} is smallest: {len(winner.payload)} bytes"
    if others:
        reason += f", next {others[0][1]} with {others[0][0]}"
    return Choice(winner.codec, winner.payload, dict(sorted(sizes.items())), reason)


@dataclass(frozen=True)
class _Candidate:
    """A codec and what it made of the streams."""

    codec: Codec
    payload: bytes


def _sampler(trials: Sequence[Codec]) -> Codec | None:
    """Return the codec that samples by itself, if it may come first: where all others take no less than the entropy.

    If it takes less than that, nobody has to encode with the others; and where its own estimate doesn't promise that,
    it gains next to nothing and takes longer to read, so it isn't tried at all.
    """
    plain = [codec for codec in trials if not codec.samples]
    first = next((codec for codec in trials if codec.samples), None)
    return first if plain and all(codec.order0 for codec in plain) else None


def _entropy_bits(part: Array) -> float:
    """Return the bits that a static code of single symbols takes at least."""
    counts = np.bincount(part) if part.size else np.zeros(0, np.int64)
    counts = counts[counts > 0]
    return float((counts * (math.log2(part.size) - np.log2(counts))).sum()) if counts.size else 0.0


def _along_paths(codecs: Sequence[Codec], parts: Sequence[Array], streams: Sequence[Stream]) -> Choice | None:
    """Return the better of the codecs trellis and mixing for streams that follow a trellis, else None.

    Other codecs don't know which indices can't occur.
    """
    codec = next((codec for codec in codecs if codec.id == Trellis.id), None)
    coded = None if codec is None else codec.encode(parts, streams)
    if codec is None or coded is None or not affordable(codec, coded, streams):
        return None
    sizes = {codec.name: len(coded)}
    for other in (other for other in codecs if other.id == Mixing.id):
        mixed = other.encode_below(parts, streams, len(coded) - other.gain)
        if mixed is not None and affordable(other, mixed, streams):
            sizes[other.name] = len(mixed)
            if len(mixed) <= len(coded) - other.gain:
                codec, coded = other, mixed
    reason = f"{codec.name} knows which indices can't occur: {len(coded)} bytes; no codec that doesn't was tried"
    return Choice(codec, coded, sizes, reason)


def _grids_alone(codecs: Sequence[Codec], parts: Sequence[Array], streams: Sequence[Stream]) -> Choice | None:
    """Return the codec grids for long codebooks that are grids: it stores two numbers for each. Else None."""
    codec = next((codec for codec in codecs if codec.id == Grids.id), None)
    if codec is None or not all(s.codebooks and s.shape[-1] >= _LONG_CODEBOOK for s in streams):
        return None
    coded = codec.encode(parts, streams)
    if coded is None or not affordable(codec, coded, streams):
        return None
    return Choice(
        codec,
        coded,
        {codec.name: len(coded)},
        f"{codec.name} stores two numbers for each grid: {len(coded)} bytes; no other codec was tried",
    )
