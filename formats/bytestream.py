"""Write and read unsigned LEB128 integers and byte strings, of which headers and payloads are made."""

from qacomp.formats.errors import FormatError, HeaderError


class ByteWriter:
    """Appends integers and byte strings to a growing buffer."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def uint(self, value: int) -> None:
        """Append a non-negative integer, seven bits a byte, least significant first (LEB128)."""
        while value >= 0x80:
            self.buffer.append(value & 0x7F | 0x80)
            value >>= 7
        self.buffer.append(value)

    def raw(self, data: bytes | bytearray | memoryview) -> None:
        """Append the bytes as they are."""
        self.buffer += data


class ByteReader:
    """Reads what ByteWriter wrote; raises `error` where data is missing, left over or needlessly long."""

    def __init__(self, data: bytes | memoryview, error: type[FormatError] = HeaderError) -> None:
        self.data = memoryview(data)
        self.position = 0
        self.error = error

    def uint(self, limit: int = (1 << 64) - 1) -> int:
        """Read the next LEB128 integer; raises `error` if it is above `limit`, over 64 bits or longer than needed."""
        value = shift = 0
        while True:
            if self.position >= len(self.data):
                raise self.error("the structure ends inside an integer; the file is damaged, fetch it again")
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise self.error("an integer has more than 64 bits; the file is damaged, fetch it again")
        if byte == 0 and shift:
            raise self.error("an integer is longer than it needs to be; the file is damaged, fetch it again")
        if value > limit:
            raise self.error(f"the integer {value} is above its limit {limit}; the file is damaged or hostile")
        return value

    def raw(self, count: int) -> memoryview:
        """Read the next `count` bytes; raises `error` if fewer are left."""
        if count > len(self.data) - self.position:
            raise self.error(f"the structure ends {count - self.rest()} bytes early; the file is damaged")
        part = self.data[self.position : self.position + count]
        self.position += count
        return part

    def rest(self) -> int:
        """Return the number of bytes that are left to read."""
        return len(self.data) - self.position

    def end(self) -> None:
        """Check that all bytes were read; raises `error` if some are left."""
        if self.rest():
            raise self.error(f"{self.rest()} bytes stand after the end of the structure; the file is damaged")
