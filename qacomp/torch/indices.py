"""Decode sections of indices with torch, on any device: rans, bitpack, raw, and twobyte of these.

All other codecs are decoded by numpy. Either gives the same indices and the same errors.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from qacomp.formats import CodecError
from qacomp.formats.codecs.base import Array, word_dtype
from qacomp.formats.codecs.bitpack import BitPack, bits_of
from qacomp.formats.codecs.rans import Rans
from qacomp.formats.codecs.ranspayload import read_payload
from qacomp.formats.codecs.raw import Raw
from qacomp.formats.codecs.twobyte import TwoByte, halves_of, read_halves
from qacomp.formats.coded import CodedSection
from qacomp.torch.lanes import decode_lanes

_PIECE = 1 << 22
"""Indices unpacked at once, a multiple of 8, since temporary arrays take 8 bytes for each."""
_OUTSIDE = "an index lies outside its codebook; the file is damaged"


def decode_indices(sections: Sequence[CodedSection], device: torch.device) -> tuple[Tensor, bool]:
    """Return (indices, whole): flat, uint8 or int32, on the device, and whether numpy decoded none. Raises CodecError.

    All sections under rans are decoded in lock-step.
    """
    try:
        parts = _decode(sections, device)
    except CodecError:
        parts = [None] * len(sections)  # numpy decodes them again, and names the section that is damaged
    known = [part if part is not None else _moved(s.decode(), device) for part, s in zip(parts, sections, strict=True)]
    return torch.cat(known) if known else torch.zeros(0, dtype=torch.uint8), None not in parts


def _decode(sections: Sequence[CodedSection], device: torch.device) -> list[Tensor | None]:
    """Return the indices of each section; None for a codec that numpy decodes."""
    parts: list[Tensor | None] = [None] * len(sections)
    lanes = [n for n, section in enumerate(sections) if section.codec == Rans.id and section.stream.count]
    for number, part in zip(lanes, _rans([sections[n] for n in lanes], device), strict=True):
        parts[number] = part
    halved = [n for n, section in enumerate(sections) if section.codec == TwoByte.id and section.stream.count]
    if halved:
        for number, joined in zip(halved, _twobyte([sections[n] for n in halved], device), strict=True):
            parts[number] = joined
    for number, section in enumerate(sections):
        if section.codec == BitPack.id and section.stream.count:
            parts[number] = _bitpack(section, device)
        if section.codec == Raw.id:
            parts[number] = _moved(section.decode(), device)  # a copy of the bytes
    return parts


def _moved(words: Array, device: torch.device) -> Tensor:
    """Return indices on the device: uint8, or int32 for those of two bytes, with which torch can't look up."""
    wide = words.astype(np.int32) if words.itemsize > 1 else words.copy()
    return torch.from_numpy(wide).to(device)


def _rans(sections: Sequence[CodedSection], device: torch.device) -> list[Tensor]:
    payloads = [found for s in sections if (found := read_payload(s.payload, [s.stream])) is not None]
    parts = []
    for groups, payload, section in zip(decode_lanes(payloads, device), payloads, sections, strict=True):
        alphabet, count, group = section.stream.alphabet, section.stream.count, payload.group
        dtype = torch.uint8 if word_dtype(section.stream).itemsize == 1 else torch.int32
        if group == 1:
            parts.append(groups.to(dtype))
            continue
        numbers = torch.arange(alphabet**group, device=device)
        digits = torch.stack([numbers // alphabet**i % alphabet for i in range(group)], dim=1).to(dtype)
        spread = [digits.index_select(0, piece.int()).reshape(-1) for piece in torch.split(groups, _PIECE)]
        parts.append(torch.cat(spread)[:count])
    return parts


def _bitpack(section: CodedSection, device: torch.device) -> Tensor:
    count, bits = section.stream.count, bits_of(section.stream.alphabet)
    payload, last = section.payload, count * bits % 8
    if len(payload) != (count * bits + 7) // 8:
        raise CodecError("the packed indices have the wrong length; the file is damaged")
    if last and payload[-1] >> last:
        raise CodecError("padding bits aren't zero; the file is damaged")
    if bits == 0:
        return torch.zeros(count, dtype=torch.uint8, device=device)
    packed = torch.from_numpy(np.concatenate([np.frombuffer(payload, np.uint8), np.zeros(2, np.uint8)])).to(device)
    out = torch.empty(count, dtype=torch.uint8 if bits <= 8 else torch.int32, device=device)
    for start in range(0, count, _PIECE):
        begin, size = start * bits // 8, min(_PIECE, count - start)
        places = torch.arange(size, device=device) * bits
        window = packed[begin : begin + (size * bits + 7) // 8 + 2].int()
        first = places >> 3
        found = window[first] | window[first + 1] << 8 | window[first + 2] << 16
        out[start : start + size] = (found >> (places & 7)) & ((1 << bits) - 1)
    if int(out.max()) >= section.stream.alphabet:
        raise CodecError(_OUTSIDE)
    return out


def _twobyte(sections: Sequence[CodedSection], device: torch.device) -> list[Tensor | None]:
    halves = []
    for section in sections:
        high, low = halves_of([section.stream])
        for (codec, payload), (stream,) in zip(read_halves(section.payload), (high, low), strict=True):
            halves.append(replace(section, codec=codec.id, payload=payload, stream=stream))
    decoded = _decode(halves, device)
    parts: list[Tensor | None] = []
    for high_bytes, low_bytes, section in zip(decoded[::2], decoded[1::2], sections, strict=True):
        if high_bytes is None or low_bytes is None:
            parts.append(None)
            continue
        part = high_bytes.int() << 8 | low_bytes
        if int(part.max()) >= section.stream.alphabet:
            raise CodecError(_OUTSIDE)
        parts.append(part)
    return parts
