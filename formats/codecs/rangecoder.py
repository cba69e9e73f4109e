"""Encode side information, such as frequency tables, with an adaptive binary range coder, in plain Python.

The coder is that of LZMA, which propagates carries (Martin 1979; Pavlov's description), with 16-bit probabilities. Its
first byte, which is always zero, isn't written. Zero bytes at the end are dropped, since bytes past the end count as
zero.
"""

from typing import TypeAlias

from qacomp.formats.errors import CodecError

_TOP = 1 << 24
_ONE = 1 << 16
_RATE_LIMIT = 30
INT_BITS_LIMIT = 40


AdaptiveBit: TypeAlias = list[int]
"""[probability of a zero in 1/65536, number of bits seen]; a list, since the coder changes it in place for speed."""


def adaptive_bit() -> AdaptiveBit:
    """Return the model of a bit before any was seen: zero and one are equally likely."""
    return [_ONE >> 1, 0]


def update(model: AdaptiveBit, bit: int, limit: int = _RATE_LIMIT) -> None:
    """Move the probability towards the bit that was seen; it stays between 32/65536 and 1 - 32/65536.

    The learning rate falls from 1/2 for the first bit to 1 / (limit + 1).
    """
    probability, seen = model
    if seen < limit:
        seen += 1
    if bit:
        probability -= (probability - 32) // (seen + 1)
    else:
        probability += (_ONE - 32 - probability) // (seen + 1)
    model[0], model[1] = probability, seen


class AdaptiveInt:
    """The model of non-negative integers: Elias-gamma codes with an adaptive length and second bit."""

    def __init__(self) -> None:
        self.length = [adaptive_bit() for _ in range(INT_BITS_LIMIT)]
        self.second = [adaptive_bit() for _ in range(INT_BITS_LIMIT)]


class RangeEncoder:
    """Encodes bits and integers; `finish` returns the bytes. rate_limit: bits after which a model learns no slower."""

    def __init__(self, rate_limit: int = _RATE_LIMIT) -> None:
        self._limit = rate_limit
        self._low = 0
        self._range = 0xFFFFFFFF
        self._cache = 0
        self._pending = 0
        self._out = bytearray()

    def bit(self, model: AdaptiveBit, bit: int) -> None:
        """Encode one bit with an adaptive model, and update the model."""
        probability, seen = model
        bound = (self._range >> 16) * probability
        if seen < self._limit:  # the same as `update`, inline: a call for each bit would double the time
            seen += 1
            model[1] = seen
        if bit:
            self._low += bound
            self._range -= bound
            model[0] = probability - (probability - 32) // (seen + 1)
        else:
            self._range = bound
            model[0] = probability + (_ONE - 32 - probability) // (seen + 1)
        while self._range < _TOP:
            self._range <<= 8
            self._shift()

    def bits(self, value: int, count: int) -> None:
        """Encode the low `count` bits of a value, the most significant first, with equal probabilities."""
        for position in range(count - 1, -1, -1):
            self._range >>= 1
            if value >> position & 1:
                self._low += self._range
            while self._range < _TOP:
                self._range <<= 8
                self._shift()

    def uint(self, model: AdaptiveInt, value: int) -> None:
        """Encode a non-negative integer below 2**39."""
        length = (value + 1).bit_length() - 1
        for position in range(length):
            self.bit(model.length[position], 1)
        self.bit(model.length[length], 0)
        if length:
            self.bit(model.second[length], (value + 1) >> (length - 1) & 1)
            self.bits((value + 1) & ((1 << (length - 1)) - 1), length - 1)

    def sint(self, model: AdaptiveInt, value: int) -> None:
        """Encode a signed integer: 0, -1, 1, -2, 2, ... are coded as 0, 1, 2, 3, 4, ..."""
        self.uint(model, 2 * value if value >= 0 else -2 * value - 1)

    def finish(self) -> bytes:
        """Return the coded bytes."""
        # Choose the value in [low, low + range) with the most trailing zero bits, so that zero bytes can be dropped.
        for keep in range(33):
            mask = (1 << (32 - keep)) - 1
            value = (self._low + mask) & ~mask
            if value < self._low + self._range:
                self._low = value
                break
        for _ in range(5):
            self._shift()
        return bytes(self._out[1:]).rstrip(b"\0")

    def _shift(self) -> None:
        if self._low < 0xFF000000 or self._low > 0xFFFFFFFF:
            carry = self._low >> 32
            self._out.append(self._cache + carry & 0xFF)
            self._out += bytes([0xFF + carry & 0xFF]) * self._pending
            self._pending = 0
            self._cache = self._low >> 24 & 0xFF
        else:
            self._pending += 1
        self._low = self._low << 8 & 0xFFFFFFFF


class RangeDecoder:
    """Decodes what RangeEncoder encoded, with the same models in the same order and the same rate limit."""

    def __init__(self, data: bytes | memoryview, rate_limit: int = _RATE_LIMIT) -> None:
        self._limit = rate_limit
        self._data = bytes(data)
        self._position = 4
        self._range = 0xFFFFFFFF
        self._code = int.from_bytes(self._data[:4].ljust(4, b"\0"), "big")

    def bit(self, model: AdaptiveBit) -> int:
        """Decode the next bit with an adaptive model, and update the model."""
        bound = (self._range >> 16) * model[0]
        if self._code < bound:
            self._range = bound
            bit = 0
        else:
            self._code -= bound
            self._range -= bound
            bit = 1
        update(model, bit, self._limit)
        while self._range < _TOP:
            self._range <<= 8
            self._code = (self._code << 8 | self._next()) & 0xFFFFFFFF
        return bit

    def bits(self, count: int) -> int:
        """Decode the next `count` bits of equal probabilities."""
        value = 0
        for _ in range(count):
            self._range >>= 1
            bit = int(self._code >= self._range)
            self._code -= self._range * bit
            value = value << 1 | bit
            while self._range < _TOP:
                self._range <<= 8
                self._code = (self._code << 8 | self._next()) & 0xFFFFFFFF
        return value

    def uint(self, model: AdaptiveInt) -> int:
        """Decode the next non-negative integer; raises CodecError if it is too long."""
        length = 0
        while self.bit(model.length[length]):
            length += 1
            if length >= INT_BITS_LIMIT:
                raise CodecError("an integer of the side information is too long; the file is damaged")
        if not length:
            return 0
        top = 2 | self.bit(model.second[length])
        return (top << (length - 1) | self.bits(length - 1)) - 1

    def sint(self, model: AdaptiveInt) -> int:
        """Decode the next signed integer."""
        value = self.uint(model)
        return -(value + 1) // 2 if value & 1 else value // 2

    def _next(self) -> int:
        position = self._position
        self._position += 1
        return self._data[position] if position < len(self._data) else 0
