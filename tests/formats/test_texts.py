"""Metadata and graphs under the codec deflate: smaller, only where that pays, and refused when damaged."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from qacomp.formats import Coding, FormatError, SharedTensor, open_file, save_file, verify_file
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.deflate import MOST_BYTES
from qacomp.formats.codecs.dictionary import DICTIONARY
from qacomp.formats.errors import CodecError

DEFLATE = CODECS[11]
META = {
    "accuracy": {"decoded": 98.97, "original": 99.11},
    "arch": "lenet5",
    "batch_norms": {},
    "calibration": "512 inputs of npz:/data/mnist.npz without their labels, seed 0",
    "data": "npz:/data/mnist.npz",
    "input_shape": [1, 28, 28],
    "num_classes": 10,
    "preprocessing": {"channels": 1, "mean": [0.1307], "size": [28, 28], "std": [0.3081]},
    "qacomp": "0.1.0",
    "settings": 'sharing = "rate"\ntarget_size = "3160"\ndistill = "kd"\nepochs = 40\nprecision = "fp32"\n',
    "source": {"bytes": 1727885, "fp32_bytes": 1724320, "kind": "qacomp", "sha256": "4ec40a409ace47a5ff6567ad2f7a7702"},
    "verdict": "good",
    "verdict_advice": "",
    "verdict_reasons": ["accuracy 99.11 -> 98.97 %"],
}


def tensors() -> dict[str, SharedTensor]:
    return {"w": SharedTensor(np.array([-1, 0, 1], np.float32), np.array([[0, 1, 1, 2]], np.uint8))}


def saved(path: Path, meta: object, **options: object) -> bytes:
    save_file(path, tensors(), meta=meta, **options)  # type: ignore[arg-type]
    return path.read_bytes()


def test_metadata_takes_less_than_half_of_what_it_took(tmp_path: Path) -> None:
    before = saved(tmp_path / "a.qac", META, coding=Coding(codecs=("bitpack", "raw")))
    after = saved(tmp_path / "b.qac", META)
    sizes = []
    for data in (before, after):
        with open_file(data) as container:
            assert container.meta == json.loads(json.dumps(META))
            sizes.append(container.sections[0].bytes)
    assert sizes[1] < sizes[0] / 2 and (before[5], after[5]) == (0, 3)
    assert saved(tmp_path / "c.qac", META) == after


def test_what_gains_little_stays_readable_for_older_readers(tmp_path: Path) -> None:
    assert saved(tmp_path / "a.qac", {"arch": "tiny"})[5] == 0


def test_every_flipped_byte_and_every_cut_is_refused(tmp_path: Path) -> None:
    data = saved(tmp_path / "a.qac", META)
    for place in range(len(data)):
        for bad in (data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :], data[:place]):
            with pytest.raises(FormatError):
                verify_file(bad)


def test_payloads_that_no_encoder_gives() -> None:
    part = np.frombuffer(b"preprocessing" * 9, np.uint8)
    stream = Stream("values", part.size)
    coded = DEFLATE.encode([part], [stream])
    assert coded is not None and DEFLATE.decode(memoryview(coded), [stream])[0].tobytes() == part.tobytes()
    plain = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = plain.compress(bytes(50 << 20)) + plain.flush()
    bad = [b"", coded[:-1], coded + b"\0", coded[1:], bomb, b"\xff" * 20]
    for payload in bad:
        with pytest.raises(CodecError):
            DEFLATE.decode(memoryview(payload), [stream])
    for count in (part.size - 1, part.size + 1, MOST_BYTES + 1):
        with pytest.raises(CodecError):
            DEFLATE.decode(memoryview(coded), [Stream("values", count)])
    with pytest.raises(CodecError):
        DEFLATE.decode(memoryview(coded), [Stream("values", part.size, 0, 11)])


def test_what_it_takes_and_what_not() -> None:
    part = np.zeros(MOST_BYTES + 1, np.uint8)
    assert DEFLATE.encode([part], [Stream("values", part.size)]) is None
    assert DEFLATE.encode([np.zeros(3, np.uint32)], [Stream("values", 3, 0, 11)]) is None
    several = [part[:2], part[:0], part[:5]]
    streams = [Stream("values", p.size) for p in several]
    back = DEFLATE.decode(memoryview(DEFLATE.encode(several, streams) or b""), streams)
    assert [p.tolist() for p in back] == [p.tolist() for p in several]


def test_the_dictionary_never_changes() -> None:
    assert (len(DICTIONARY), zlib.crc32(DICTIONARY)) == (3412, 0x8DE9F87D)
