"""Codecs against their entropy bounds and their peers: size and speed of coded indices and of float planes."""

import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import zstandard
from _codec_nncodec import nncodec
from numpy.typing import NDArray
from result import Headline, Results, Row, in_turns, median, shared_folder, spread

from qacomp.formats import SharedTensor, open_file, save_file
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.bitpack import bits_of, pack
from qacomp.formats.codecs.huffman import code_lengths
from qacomp.formats.dtypes import bfloat16_from_float32

RANS, CONTEXT, PLANES = CODECS[3], CODECS[4], CODECS[5]


def gaussian(count: int, k: int, seed: int, zeros: float = 0.0) -> NDArray[np.uint8]:
    """Indices of independent Gaussian weights in k equal cells, a share of them set to the middle one."""
    rng = np.random.default_rng(seed)
    draws = rng.standard_normal(count, dtype=np.float32)
    indices = np.searchsorted(np.linspace(-2.5, 2.5, k + 1)[1:-1], draws).astype(np.uint8)
    if zeros:
        indices[rng.random(count, dtype=np.float32) < zeros] = k // 2
    return indices


def entropy_bytes(indices: NDArray[Any]) -> float:
    """Order-0 entropy of all indices together, in bytes."""
    counts = np.bincount(indices)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / len(indices))).sum()) / 8


def smallest(parts: list[Array], streams: list[Stream]) -> tuple[str, int]:
    """The codec that takes the fewest bytes for all streams in one payload."""
    sizes = {
        c.name: len(b) for c in CODECS.values() if "indices" in c.kinds if (b := c.encode(parts, streams)) is not None
    }
    return min(sizes.items(), key=lambda item: item[1])


def speed(size: str) -> Results:
    """Static rANS against constriction's ANS coder on 16 M symbols, CPU time of one core, in turns."""
    count, k = 1 << 24, 16
    indices = gaussian(count, k, 0)
    streams = [Stream("indices", count, k)]
    coded = RANS.encode([indices], streams)
    assert coded is not None
    tasks: dict[str, Callable[[], object]] = {
        "qacomp_encode": lambda: RANS.encode([indices], streams),
        "qacomp_decode": lambda: RANS.decode(memoryview(coded), streams),
    }
    try:
        import constriction
    except ImportError:
        constriction = None
    if constriction is not None:
        probabilities = np.bincount(indices, minlength=k) / count
        model = constriction.stream.model.Categorical(probabilities, perfect=False)
        wide = indices.astype(np.int32)
        peer = constriction.stream.stack.AnsCoder()
        peer.encode_reverse(wide, model)
        compressed = peer.get_compressed()
        tasks["constriction_encode"] = lambda: constriction.stream.stack.AnsCoder().encode_reverse(wide, model)
        tasks["constriction_decode"] = lambda: constriction.stream.stack.AnsCoder(compressed).decode(model, count)
    times = in_turns(tasks, 5 if size == "small" else 15)
    results: dict[str, Any] = {f"{name}_m_symbols_s": count / median(t) / 1e6 for name, t in times.items()}
    results["bytes"] = len(coded)
    headlines = {}
    for what, bar in (("decode", ">= 3"), ("encode", ">= 0.8")):
        key, value, sd = f"rans_{what}_vs_constriction", None, None
        if constriction is not None:
            pairs = zip(times[f"constriction_{what}"], times[f"qacomp_{what}"], strict=True)
            ratios = [peer_time / own for peer_time, own in pairs]
            value, sd = median(ratios), spread(ratios)
            results[f"{what}_ratio"] = value
        note = "16 M symbols, K = 16, CPU time of one core, median of ratios in turns; ours builds its tables from "
        note += "the symbols in that time, constriction's model is given beforehand"
        headlines[key] = Headline(value, "x", bar, note, sd)
    row = Row("rans_speed", "Static rANS and constriction's ANS coder", {"symbols": count, "k": k}, results)
    return [row], headlines


def excess(seeds: int) -> Results:
    """Bytes over the order-0 entropy, everything counted."""
    rows, headlines = [], {}
    for label, count, bar in (("16m", 1 << 24, 0.3), ("1m", 1 << 20, 0.5), ("16k", 1 << 14, 2.0)):
        values = []
        for seed in range(seeds):
            indices = gaussian(count, 16, seed)
            coded = RANS.encode([indices], [Stream("indices", count, 16)])
            assert coded is not None
            values.append(100 * (len(coded) / entropy_bytes(indices) - 1))
        rows.append(
            Row(f"excess_{label}", "rANS over order-0 entropy", {"symbols": count, "k": 16}, {"percent": values})
        )
        note = "static rANS of independent Gaussian indices, tables, states and all counted"
        headlines[f"excess_{label}_pct"] = Headline(median(values), "%", f"<= {bar}", note, spread(values))
    worst = []
    for zeros in (0.9, 0.97):
        values = []
        for seed in range(seeds):
            indices = gaussian(1 << 20, 16, seed, zeros)
            name, size = smallest([indices], [Stream("indices", 1 << 20, 16)])
            values.append(100 * (size / entropy_bytes(indices) - 1))
        settings = {"symbols": 1 << 20, "k": 16, "zeros": zeros}
        rows.append(
            Row(f"sparse_{zeros}", "the smallest codec over entropy", settings, {"percent": values, "codec": name})
        )
        worst.append(median(values))
    note = "the worse of 90 % and 97 % zeros, 1 M symbols, the smallest codec"
    headlines["excess_sparse_pct"] = Headline(max(worst), "%", "<= 1", note)
    return rows, headlines


def address_maps(indices: NDArray[Any]) -> dict[str, int]:
    """Bytes of HAM and sHAM of a matrix: Huffman in column order with an end offset a column; sHAM without zeros."""
    matrix = indices.reshape(indices.shape[0], -1)
    rows, columns = matrix.shape
    counts = np.bincount(matrix.ravel())
    word = 4  # bytes of an offset
    table = 2 * int((counts > 0).sum())
    ham = int((code_lengths(counts) * counts).sum() + 7) // 8 + word * columns + table
    middle = int(counts.argmax())
    rest = counts.copy()
    rest[middle] = 0
    places = max((rows - 1).bit_length(), 1) * int(rest.sum())
    sham = int((code_lengths(rest) * rest).sum() + 7) // 8 if rest.sum() else 0
    sham += (places + 7) // 8 + (word + 2) * columns + table
    return {"ham": ham, "sham": sham}


def in_container(layers: dict[str, SharedTensor]) -> int:
    """Bytes of the index sections of a container of these layers: the best codec for each."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(Path(folder) / "a.qac", layers)
        with open_file(Path(folder) / "a.qac") as container:
            return sum(section.bytes for section in container.sections if section.kind == "indices")


def real_networks() -> Results:
    """k-means indices of real networks: the best codec, the entropy, general compressors, address maps."""
    folder = shared_folder()
    rows: list[Row] = []
    note = "k-means indices K = 16 of two ResNet-20s and silero; the worst of the three"
    if folder is None:
        skipped = Headline(None, "", "<= 0.97", "skipped: no shared checkpoints beside this checkout")
        return rows, {"context_vs_entropy": skipped, "context_vs_best_general": skipped}
    against_entropy, against_general = [], []
    for name, file in networks.CHECKPOINTS.items():
        for k in (4, 8, 16, 64):
            layers = networks.shared_layers(folder / "ckpt" / file, k)
            bound = networks.entropy_bytes(layers)
            parts = [layer.indices.ravel() for layer in layers.values()]
            streams = [Stream("indices", s.indices.size, k, 1, s.indices.shape) for s in layers.values()]
            sizes = {
                c.name: len(coded)
                for c in CODECS.values()
                if "indices" in c.kinds and (coded := c.encode(parts, streams)) is not None
            }
            packed = b"".join(pack(part, bits_of(k)) for part in parts)
            general = {
                "xz_9e": len(lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME)),
                "zstd_19": len(zstandard.ZstdCompressor(level=19).compress(packed)),
            }
            maps: dict[str, int] = {"ham": 0, "sham": 0}
            for layer in layers.values():
                for form, size in address_maps(layer.indices).items():
                    maps[form] += size
            results = {"entropy_bytes": bound, "codecs": sizes, "general": general, "address_maps": maps}
            chosen = in_container(layers)
            results["container_sections"] = chosen
            rows.append(Row(f"{name}_k{k}", "bytes of all layers' indices", {"k": k}, results))
            if k == 16:
                against_entropy.append(chosen / bound)
                against_general.append(chosen / min(general.values()))
    return rows, {
        "context_vs_entropy": Headline(
            max(against_entropy),
            "x",
            "<= 0.97",
            f"{note}: a container's index sections over the sum of the layers' order-0 entropies",
        ),
        "context_vs_best_general": Headline(
            max(against_general),
            "x",
            "< 1",
            f"{note}: a container's index sections over the smaller of xz -9e and zstd -19 of bit-packed indices",
        ),
    }


def float_planes() -> Results:
    """Lossless planes of real weights in fp32 and bf16 against zstd -19, and how fast they decode."""
    folder = shared_folder()
    if folder is None:
        skipped = Headline(None, "", "", "skipped: no shared checkpoints beside this checkout")
        return [], {"planes_vs_zstd": skipped, "planes_decode_mb_s": skipped}
    rows, ratios, speeds = [], [], []
    for name, file in networks.CHECKPOINTS.items():
        flat = np.concatenate([t.ravel().astype(np.float32) for t in networks.tensors(folder / "ckpt" / file).values()])
        for kind, number, words in (
            ("float32", 11, flat.view(np.uint32)),
            ("bfloat16", 10, bfloat16_from_float32(flat).view(np.uint16)),
        ):
            streams = [Stream("values", len(words), 0, number, words.shape)]
            coded = PLANES.encode([words], streams)
            assert coded is not None
            other = len(zstandard.ZstdCompressor(level=19).compress(words.tobytes()))
            drawn = np.random.default_rng(0).choice(words, 1 << 22)  # long enough to time, and no repeats
            long_streams = [Stream("values", len(drawn), 0, number, drawn.shape)]
            long_coded = memoryview(PLANES.encode([drawn], long_streams) or b"")

            def decode(data: memoryview = long_coded, streams: list[Stream] = long_streams) -> object:
                return PLANES.decode(data, streams)

            seconds = median(in_turns({"decode": decode}, 5)["decode"])
            ratios.append(len(coded) / other)
            speeds.append(drawn.nbytes / seconds / 1e6)
            results = {
                "planes_bytes": len(coded),
                "zstd_bytes": other,
                "raw_bytes": words.nbytes,
                "decode_mb_s": speeds[-1],
            }
            rows.append(Row(f"planes_{name}_{kind}", "lossless floats", {"dtype": kind}, results))
    note = "all float tensors of a checkpoint as one stream, fp32 and bf16; the worst"
    return rows, {
        "planes_vs_zstd": Headline(max(ratios), "x", "< 1", f"{note} ratio to zstd -19"),
        "planes_decode_mb_s": Headline(
            min(speeds), "MB/s", ">= 300", f"{note}, 4 M values drawn with replacement, CPU time of one core"
        ),
    }


def run(size: str, seeds: int) -> Results:
    """All of it."""
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    for more_rows, more_headlines in (speed(size), excess(seeds), real_networks(), float_planes(), nncodec()):
        rows += more_rows
        headlines |= more_headlines
    return rows, headlines
