"""Atheris target: any bytes as the payload of any codec; what decodes has the streams' counts and alphabets."""

import sys

import atheris

with atheris.instrument_imports(include=["qacomp.formats"]):
    import numpy as np

    from qacomp.formats import FormatError
    from qacomp.formats.codecs import CODECS, Stream

ALPHABETS = (1, 2, 3, 8, 16, 200, 256, 300, 5000)
NUMBERS = sorted(CODECS)


def streams(provider: "atheris.FuzzedDataProvider") -> list[Stream]:
    """One to three streams of up to 300 values."""
    made = []
    kind = "indices" if provider.ConsumeBool() else "values"
    refine = kind == "indices" and provider.ConsumeBool()
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        count = provider.ConsumeIntInRange(0, 300)
        if kind == "values":
            dtype, width = provider.ConsumeIntInRange(0, 12), provider.ConsumeIntInRange(0, 20)
            shape = (-(-count // width), width) if width else (count,)
            made.append(Stream("values", count, 0, dtype, shape, codebooks=width > 0))
            continue
        alphabet = ALPHABETS[provider.ConsumeIntInRange(0, len(ALPHABETS) - 1)]
        if refine:
            parents = (np.arange(count) % 3).astype(np.uint8)
            made.append(Stream("indices", count, 4, 1, (count,), 0, parents, (2, 1, 4)))
        else:
            made.append(Stream("indices", count, alphabet, 1, (1, count)))
    return made


def one(data: bytes) -> None:
    """What atheris calls."""
    provider = atheris.FuzzedDataProvider(data)
    codec = CODECS[NUMBERS[provider.ConsumeIntInRange(0, len(NUMBERS) - 1)]]
    wanted = streams(provider)
    if any(stream.kind not in codec.kinds for stream in wanted):
        return
    try:
        parts = codec.decode(memoryview(provider.ConsumeBytes(1 << 16)), wanted)
    except FormatError:
        return
    for part, stream in zip(parts, wanted, strict=True):
        assert len(part) == stream.count
        if stream.kind == "indices" and stream.count:
            assert int(part.max()) < stream.alphabet


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
