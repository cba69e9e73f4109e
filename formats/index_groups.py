"""Divide the indices of small tensors into groups: mostly one for all, which costs least besides the indices.

The codec context learns between epochs, which become longer with the symbols before. A short stream after a long one is
over within one epoch, before anything of it is learnt, so each by itself may be smaller.
"""

from collections.abc import Sequence

from qacomp.formats.encoding import Member, Section, encode_levels
from qacomp.formats.records import INDICES

_MOST_MEMBERS, _MOST_INDICES = 8, 1 << 19  # of a group that is tried apart; others have enough to learn from
_SECTION_BYTES = 12
"""What one more section takes of the header, rounded up: a checksum of 4 bytes, a size, and entries of six columns."""


def divided(members: Sequence[Member], codecs: Sequence[str] | None) -> list[list[Section]]:
    """Return the sections (one for each level) of each group: all members in one, or each by itself if that is smaller.

    The owner of all sections is 0.
    """
    joint = encode_levels(INDICES, 0, members, codecs)
    if not 2 <= len(members) <= _MOST_MEMBERS or sum(m.stop - m.start for m in members) > _MOST_INDICES:
        return [joint]
    alone = [encode_levels(INDICES, 0, [member], codecs) for member in members]
    return min([joint], alone, key=lambda parts: sum(_bytes(part) for part in parts))


def _bytes(sections: Sequence[Section]) -> int:
    return sum(section.record.stored_bytes + _SECTION_BYTES for section in sections)
