"""Large tensors are decoded with torch on a device, here the CPU: bit for bit what the numpy reader gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacks import GOLDEN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from qacomp.formats import CodecError, Coding, Container, SharedTensor, open_file, save_file
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.coded import CodedSection
from qacomp.tensors.torch_format import to_array
from qacomp.torch import decoding_on_device, from_pretrained, load_into
from qacomp.torch.indices import decode_indices
from qacomp.torch.on_device import decode_on

CPU = torch.device("cpu")
VECTORS = sorted((Path(__file__).resolve().parents[1] / "vectors" / "v1").glob("*.qac"))
BY_TORCH = {0: "raw", 1: "bitpack", 3: "rans", 8: "twobyte"}
QUICK = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def by_torch(container: Container) -> int:
    """Compare every tensor at every level with numpy's, and return how many torch decoded whole."""
    found = 0
    for name in container.names:
        for level in range(max(len(container.info(name).levels), 1)):
            decoded = decode_on(container, name, level, CPU)
            if decoded is not None:
                expected = container.tensor(name, level=level)
                assert tuple(decoded[0].shape) == expected.shape
                assert to_array(decoded[0]).tobytes() == expected.tobytes(), (container.source, name, level)
                found += decoded[1]
    return found


def test_kept_files_have_the_same_values() -> None:
    found = 0
    for path in [*VECTORS, *sorted(GOLDEN.glob("*.qac"))]:
        with open_file(path) as container:
            found += by_torch(container)
    assert found > 10


def indices_of(seed: int, k: int, shape: Sequence[int]) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    drawn = np.clip(random.normal(k / 2, k / random.integers(2, 9), shape), 0, k - 1)
    return drawn.astype(np.uint8 if k <= 256 else np.uint16)


@pytest.mark.parametrize("codec", BY_TORCH.values())
@QUICK
@given(
    seed=st.integers(0, 1 << 30),
    k=st.sampled_from((1, 2, 3, 5, 16, 17, 255, 256, 257, 300, 4096, 5000)),
    shape=st.sampled_from(((9, 70), (40, 33), (5, 3, 7, 7), (2000,))),
    dtype=st.sampled_from((np.float32, np.float16, np.int8, np.float64)),
)
def test_chunks_have_the_same_values(
    codec: str, seed: int, k: int, shape: tuple[int, ...], dtype: type[np.generic], tmp_path: Path
) -> None:
    book = np.random.default_rng(seed).normal(0, 30, k).astype(dtype)
    tensors = {"w": SharedTensor(book, indices_of(seed, k, shape)), "v": SharedTensor(book, indices_of(1, k, (600,)))}
    save_file(tmp_path / "a.qac", tensors, coding=Coding((codec,), chunk_log2=9))
    with open_file(tmp_path / "a.qac") as container:
        found = by_torch(container)
        assert found == 2 or codec == "twobyte"  # which may hold bytes under the codec context


@QUICK
@given(
    seed=st.integers(0, 1 << 30),
    k=st.sampled_from((2, 16, 256, 300)),
    blocks=st.sampled_from(((1, 33), (4, 8), (40, 3), (1, 16))),
    dtype=st.sampled_from(("f4", "f2", "f8")),
    grid=st.booleans(),
)
def test_blocks_and_grids_have_the_same_values(
    seed: int, k: int, blocks: tuple[int, int], dtype: str, grid: bool, tmp_path: Path
) -> None:
    random, count = np.random.default_rng(seed), (-(-40 // blocks[0]), -(-33 // blocks[1]))
    book = random.normal(size=(*count, k)).astype(dtype)
    if grid:
        scale = np.exp(np.clip(random.normal(0, 40, count), *((-15, 9) if dtype == "f2" else (-95, 85)))).astype(dtype)[
            ..., None
        ]
        kind = np.dtype("f8" if dtype == "f8" else "f4")
        steps = np.arange(k, dtype=kind) - random.integers(0, min(k, 256), count)[..., None].astype(kind)
        with np.errstate(over="ignore", under="ignore"):
            book = (steps * scale.astype(kind)).astype(dtype)
    tensor = SharedTensor(book, indices_of(seed, k, (40, 33)), (), blocks)
    save_file(tmp_path / "a.qac", {"w": tensor}, coding=Coding(("rans", "grids"), chunk_log2=10))
    with open_file(tmp_path / "a.qac") as container:
        assert by_torch(container) == 1


@pytest.mark.parametrize("number", BY_TORCH)
def test_a_damaged_section_is_refused_or_decoded_as_by_numpy(number: int) -> None:
    k = 300 if number == 8 else 9
    stream = Stream("indices", 400, k, 1, (20, 20))
    coded = CODECS[number].encode([indices_of(number, k, (400,))], [stream])
    assert coded is not None
    for place in range(0, len(coded), 19):
        damaged = bytearray(coded)
        damaged[place] ^= 1 << place % 8
        for payload in (memoryview(damaged), memoryview(coded)[:place]):
            section = CodedSection(number, payload, stream, "a.qac: section 7")
            try:
                expected = section.decode()
            except CodecError as error:
                with pytest.raises(CodecError) as refused:
                    decode_indices([section], CPU)
                assert str(refused.value) == str(error)
            else:
                assert np.array_equal(decode_indices([section], CPU)[0].numpy(), expected)


class Two(nn.Module):
    """Two layers: one large enough for sections of its own, and a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(40, 30, bias=False)
        self.small = nn.Linear(3, 3)


def test_a_module_is_loaded_on_its_device(tmp_path: Path) -> None:
    book = np.linspace(-1, 1, 9, dtype=np.float32)
    tensors: dict[str, SharedTensor | NDArray[Any]] = {
        "large.weight": SharedTensor(book, indices_of(0, 9, (30, 40))),
        "small.weight": SharedTensor(book, indices_of(1, 9, (3, 3))),
        "small.bias": book[:3],
    }
    save_file(tmp_path / "a.qac", tensors, coding=Coding(("rans",), chunk_log2=9))
    plain, found = Two(), Two()
    assert load_into(plain, tmp_path / "a.qac").on_cpu == ()
    with decoding_on_device():
        assert load_into(found, tmp_path / "a.qac").on_cpu == ("small.weight",)
        made = from_pretrained(Two, tmp_path / "a.qac", config={})
    for name, tensor in plain.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor) and torch.equal(made.state_dict()[name], tensor)
    save_file(tmp_path / "a.qac", tensors, coding=Coding(("context",), chunk_log2=9))
    with decoding_on_device():
        assert load_into(found, tmp_path / "a.qac").on_cpu == ("large.weight", "small.weight")
    assert torch.equal(found.large.weight, plain.large.weight)
