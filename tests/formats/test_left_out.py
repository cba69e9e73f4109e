"""A codec that is left out is nowhere in the file: not in its header, and not inside of other codecs."""

from pathlib import Path

import numpy as np
import pytest
from resign import parts

from qacomp.errors import ConfigError
from qacomp.formats import Coding, SharedTensor, open_file, save_file
from qacomp.formats.codec_choice import default_codecs
from qacomp.formats.codecs import planes
from qacomp.formats.writer import Tensor
from qacomp.options.config import CompressConfig


def repeated() -> dict[str, Tensor]:
    """Tensors that zstd makes smallest: indices and values that repeat themselves."""
    random = np.random.default_rng(0)
    row = random.integers(0, 16, (8, 64)).astype(np.uint8)
    values = np.tile(random.random(300), 40).reshape(120, 100)
    return {"w": SharedTensor(np.linspace(-1, 1, 16).astype(np.float32), np.tile(row, (64, 8))), "values": values}


def test_zstd_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.qac"
    save_file(path, repeated(), graph=b"abc" * 2000, meta={"a": "b" * 500})
    with open_file(path) as container:
        assert "zstd" in {section.codec for section in container.sections}
    expected = repeated()
    save_file(path, expected, graph=b"abc" * 2000, meta={"a": "b" * 500}, coding=Coding(("no-zstd", "no-lzma")))
    assert path.read_bytes()[6] not in (6, 7)
    monkeypatch.setattr(planes, "decompress", lambda *_: pytest.fail("a plane is stored with zstd"))
    with open_file(path) as container:
        assert {"zstd", "lzma"}.isdisjoint(section.codec for section in container.sections)
        assert container.graph() == b"abc" * 2000 and container.meta == {"a": "b" * 500}
        for name, tensor in expected.items():
            dense = tensor.dense() if isinstance(tensor, SharedTensor) else tensor
            assert np.array_equal(container.tensor(name), dense)
    assert parts(path.read_bytes())[0].tensors


def test_the_setting_leaves_a_codec_of_the_format_out() -> None:
    assert CompressConfig(k=4, codec="no-zstd").check().codecs == ("no-zstd",)
    assert CompressConfig(k=4, codec="no-zstd,no-lzma").check().codecs == ("no-zstd", "no-lzma")
    with pytest.raises(ConfigError, match="stored raw"):
        CompressConfig(codec="no-raw").check()


def test_sharing_by_rate_adds_the_codec_mixing() -> None:
    assert CompressConfig(k=4).codecs is None and CompressConfig().codecs == ("with-mixing",)
    assert CompressConfig(codec="no-zstd").codecs == ("no-zstd", "with-mixing")
    assert CompressConfig(codec="no-mixing").check().codecs == ("no-mixing",)
    assert CompressConfig(k=4, codec="with-mixing").check().codecs == ("with-mixing",)
    with pytest.raises(ConfigError, match="with-mixing, or no-mixing"):
        CompressConfig(codec="mixing").check()
    tried = Coding(("no-zstd", "with-mixing")).tried
    assert tried is not None and "mixing" in tried and "no-zstd" in tried and "mixing" not in default_codecs()
    assert Coding(("no-zstd", "with-mixing")).newer == Coding().newer  # a graph is coded as ever
