"""Pickles that lie, double, nest and go round, put wherever a file has a pickle; run as a program it reads them all.

Each line of its output is [case, seconds of CPU, what came out]; the last is ["peak", KiB above the start, ""].
"""

import json
import re
import resource
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def pickled(*parts: bytes) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + b"".join(parts) + b"."


def doubled(start: bytes, pair: bytes, times: int = 60) -> bytes:
    """What holds itself twice, 60 times over: 2^60 values in 300 bytes."""
    return start + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + pair for i in range(times))


DEEP = 50_000


def values(deep: int = DEEP) -> dict[str, bytes]:
    """Values by name; deep: how often those nest, or hold a thing, that take long to read."""
    return {
        "doubled tuple": doubled(b"K\x01\x85", b"\x86"),
        "doubled triple": b"K\x01\x85" + b"".join(b"q%ch%ch%c\x87" % (i, i, i) for i in range(60)),
        "deep tuple": b"K\x01" + b"\x85" * deep,
        "deep list": b"]" * deep + b"a" * (deep - 1),
        "deep dict": b"}" + b"K\x01}" * deep + b"s" * deep,
        "round list": b"]q\x00h\x00a",
        "round dict": b"}q\x00K\x01h\x00s",
        "round build": b"ccollections\nOrderedDict\n)Rq\x00h\x00b",
        "bytearray8": b"\x96" + struct.pack("<Q", 1 << 44),
        "bytes8": b"\x8e" + struct.pack("<Q", 1 << 44),
        "unicode8": b"\x8d" + struct.pack("<Q", 1 << 62),
        "unicode": b"X\xff\xff\xff\xffa",
        "negative string": b"T\xff\xff\xff\xffa",
        "long4": b"\x8b" + struct.pack("<i", 0x7FFFFFFF),
        "long4 negative": b"\x8b" + struct.pack("<i", -1),
        "long1": b"\x8a\xff" + b"\xff" * 254 + b"\x7f",
        "frame": b"\x95" + struct.pack("<Q", 1 << 60) + b"N",
        "memo": b"]r\xff\xff\xff\xff",
        "marks": b"(" * deep,
        "copies": b"(" + text("x" * 50_000) + b"q\x00c_codecs\nencode\nq\x01" + b"h\x01h\x00\x85R" * 50_000 + b"t",
        "dict copies": b"(}(" + b"".join(b"J%bN" % struct.pack("<i", i) for i in range(deep // 10)) + b"uq\x00"
        b"ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00\x85R" * deep + b"t",
        "colliding keys": b"}(" + b"".join(b"\x8a\x0e" + (i * ((1 << 61) - 1)).to_bytes(14, "little") + b"N"
        for i in range(deep)) + b"u",
        "doubled lists": b"(]" + b"".join(b"q%c](h%ch%ce" % (i, i, i) for i in range(60)) + b"t",
        "doubled dicts": b"(}" + b"".join(b"q%c}(K\x01h%cK\x02h%cu" % (i, i, i) for i in range(60)) + b"t",
    }  # fmt: skip


VALUES, SMALLER = values(), values(5_000)  # the smaller ones nest deeper than any recursion may, and are quick
LARGE: dict[str, bytes] = {
    "many dicts": b"(" + b"}" * 1_900_000 + b"t",
    "many memos": b"(" + b"]\x94" * 900_000 + b"t",
    "long text": text("é" * 4_000_000),
}
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n%bX\x03\x00\x00\x00cpuK\x04tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(%bK\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
W = TENSOR % (STORAGE % text("0"))


SLOW = {"deep tuple", "deep list", "deep dict", "colliding keys", "dict copies"}  # a tenth of a second each to read

MANY: dict[str, bytes] = {
    "a tensor under very many names": pickled(
        b"}(", b"".join(text(str(i)) + (W + b"q\x00" if i == 0 else b"h\x00") for i in range(30_000)), b"u"
    ),
    "very many tensors": pickled(b"}(", b"".join(text(str(i)) + W for i in range(8_000)), b"u"),
    "long prefixes": pickled(b"}", b"".join(text(f"{i}" + "x" * 60_000) + b"}(" + b"".join(
        text(str(j)) + W for j in range(200)) + b"us" for i in range(8))),
}  # fmt: skip


def streams() -> Iterator[tuple[str, bytes]]:
    """(case, pickle) for the old streams, whose pickles one reader reads with those of zip files: slow values there."""
    for name, data in states():
        value = re.split(" as | to | beside ", name)[0]
        if value in LARGE.keys() | MANY.keys():
            continue
        if value not in SLOW or name == f"{value} beside tensors":
            yield name, data


def states() -> Iterator[tuple[str, bytes]]:
    """(case, pickle) for torch.save's files: every value in every place."""
    for name, value in VALUES.items():
        small = SMALLER[name]
        yield f"{name} as the whole", pickled(value)
        yield f"{name} as a key", pickled(b"}", value, b"K\x01s", text("w"), W, b"s")
        yield f"{name} beside tensors", pickled(b"}", text("w"), W, b"s", text("x"), value, b"s")
        yield f"{name} as a state dict", pickled(b"}", text("state_dict"), small, b"s", text("w"), W, b"s")
        yield f"{name} as a storage key", pickled(b"}", text("w"), TENSOR % (STORAGE % value), b"s")
        yield (
            f"{name} as a size",
            pickled(b"}", text("w"), W.replace(b"K\x04\x85K\x01\x85", small + b"K\x01\x85"), b"s"),
        )
        yield f"{name} as a reference", pickled(small, b"Q")
        yield f"{name} as attributes", pickled(b"}", text("w"), W, small, b"b", b"s")
        for call in (b"ctorch\ndevice\n", b"cbuiltins\ncomplex\n", b"ctorch\nSize\n", b"cbuiltins\nset\n",
                     b"ccollections\nOrderedDict\n", b"ccollections\nCounter\n", b"cbuiltins\nbytearray\n",
                     b"ctorch._utils\n_rebuild_parameter\n", b"ctorch._tensor\n_rebuild_from_type_v2\n"):  # fmt: skip
            yield (
                f"{name} to {call.split()[-1].decode()}",
                pickled(b"}", text("w"), W, b"s", text("d"), call, small, b"\x85Rs"),
            )
        for field in ("version", "arch", "num_classes", "preprocessing", "data"):
            header = b"}" + text("version") + b"K\x01s" + text(field) + small + b"s"
            yield (
                f"{name} as {field}",
                pickled(b"}", text("qacomp"), header, b"s", text("state_dict"), b"}", text("w"), W, b"ss"),
            )
    for name, value in LARGE.items():
        yield f"{name} beside tensors", pickled(b"}", text("w"), W, b"s", text("x"), value, b"s")
    yield from MANY.items()


def write_state(path: Path, data: bytes) -> None:
    """A zip file of torch.save's with another pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", bytes(16))


def write_legacy(path: Path, data: bytes) -> None:
    """The old stream with another pickle of the object."""
    start = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    path.write_bytes(start + pickled(b"M\xe9\x03") + pickled(b"}") + data + pickled(b"]", text("0"), b"a") +
                     struct.pack("<q", 4) + bytes(16))  # fmt: skip


def write_script(path: Path, data: bytes) -> None:
    """A TorchScript archive with another pickle of the module tree."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/constants.pkl", pickled(b")"))
        archive.writestr("archive/data/0", bytes(16))


def scripts() -> Iterator[tuple[str, bytes]]:
    """(case, pickle) for TorchScript archives."""
    new = b"c__torch__\nM\n)\x81"
    for name, value in VALUES.items():
        small = SMALLER[name]
        yield f"script: {name} as the whole", pickled(small)
        yield f"script: {name} as a state", pickled(new, small, b"b")
        yield f"script: {name} as an attribute", pickled(new, b"}", text("w"), W, b"s", text("x"), value, b"sb")
        yield f"script: {name} as a key", pickled(new, b"}", text("w"), W, b"s", small, W, b"sb")
    yield (
        "script: many dicts as an attribute",
        pickled(new, b"}", text("w"), W, b"s", text("x"), LARGE["many dicts"], b"sb"),
    )
    body = new + b"}" + text("w") + W + b"sb"
    for i in range(60):
        body += b"q%c" % i + new + b"}" + text("a") + b"h%cs" % i + text("b") + b"h%csb" % i
    yield "script: doubled modules with tensors", pickled(b"(", body, b"t")
    yield "script: a module in itself", pickled(new, b"q\x00}", text("w"), W, b"s", text("self"), b"h\x00", b"s", b"b")
    deep = b"".join(new + b"}" + text("a") for _ in range(50_000)) + W + b"sb" * 50_000
    yield "script: deep modules", pickled(deep)


def batches() -> Iterator[tuple[str, bytes]]:
    """(case, pickle) for CIFAR batches."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01%bcnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89%btb"
    )
    good = array % (b"K\x01M\x00\x0c\x86", b"T\x00\x0c\x00\x00" + bytes(3072))
    labels = text("labels") + b"](K\x01e"
    for name, value in SMALLER.items():
        yield f"batch: {name} as the whole", pickled(value)
        yield f"batch: {name} as a key", pickled(b"}(", text("data"), good, labels, VALUES[name], b"Nu")
        yield f"batch: {name} as labels", pickled(b"}(", text("data"), good, text("labels"), value, b"u")
        yield f"batch: {name} among labels", pickled(b"}(", text("data"), good, text("labels"), b"]", value, b"au")
        yield f"batch: {name} as data", pickled(b"}(", text("data"), value, labels, b"u")
        yield f"batch: {name} as a shape", pickled(b"}(", text("data"), array % (value, b"U\x01a"), labels, b"u")
        yield f"batch: {name} as bytes", pickled(b"}(", text("data"), array % (b"K\x01\x85", value), labels, b"u")


def main(folder: Path) -> None:
    """Read every case, and say what came out."""
    import torch  # noqa: F401 — what it takes is no part of what a file takes

    from qacomp.checkpoints import read_checkpoint
    from qacomp.datasets._cifar import read_pickled
    from qacomp.errors import QacompError

    warnings.simplefilter("error")
    path = folder / "x.pt"
    kinds = ((states, write_state, "zip: "), (streams, write_legacy, "legacy: "), (scripts, write_script, ""))
    made = ((prefix + name, data, write) for make, write, prefix in kinds for name, data in make())
    cases = chain(made, ((name, data, Path.write_bytes) for name, data in batches()))
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, data, write in cases:
        if wanted not in name:
            continue
        write(path, data)
        before = time.process_time()
        try:
            if name.startswith("batch"):
                outcome = str(len(read_pickled(path, b"labels").y)) + " images"
            else:
                outcome = f"{len(read_checkpoint(path).state)} tensors"
        except QacompError as error:
            outcome = f"{type(error).__name__}: {error}"
        sys.stdout.write(json.dumps([name, time.process_time() - before, outcome]) + "\n")
        sys.stdout.flush()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps(["peak", peak - held, ""]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
