"""Apply deltas in C, under the sanitizers, and in JavaScript: vectors, damaged and hostile deltas, with numpy's
outcome.

The program applies each delta that succeeds to flash that fails too (`with_worn_flash` in fuzz_delta.c)."""

import ctypes
import hashlib
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import delta_pairs
import numpy as np
import pytest
from arm import arm_compiler

from qacomp.formats import FormatError, open_file
from qacomp.formats.codecs.context import Context
from qacomp.formats.codecs.zstd import decompress
from qacomp.formats.deltas import Delta, delta_chunks, read_delta, updated
from qacomp.formats.deltas.changes import ChangeEncoder
from qacomp.formats.deltas.file import DIFFERENCE, WHOLE, Step
from qacomp.formats.deltas.prediction import NO_BASE
from qacomp.formats.deltas.rebuilding import choices_of
from qacomp.formats.deltas.sections import SectionContents
from qacomp.formats.native_installed import SOURCES
from qacomp.formats.native_library import READ, ZSTD, SourceStruct

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors" / "deltas_v1"
GOLDEN = HERE.parent / "golden" / "deltas_v1"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
NO_ZSTD, WRONG_BASE, ALREADY_APPLIED, UNSUPPORTED = 12, 32, 33, 34
WAYS = 3  # of applying: into a second region in memory and by functions, and in place
MUTANTS = 50


PAIRS = tuple(delta_pairs.PAIRS)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fuzz_delta.c under the sanitizers of addresses and of undefined behaviour."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no gcc or clang")
    path = tmp_path_factory.mktemp("fuzz") / "fuzz_delta"
    sanitized = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    files = (f"-I{SOURCES}", str(HERE / "fuzz_delta.c"), str(SOURCES / "qac_delta.c"), "-o", str(path))
    if subprocess.run([compiler, *STRICT, *sanitized, *files], check=False, capture_output=True).returncode:
        subprocess.run([compiler, *STRICT, *files], check=True)  # raises for what isn't for lack of sanitizers
        pytest.skip(f"{compiler} has no sanitizers here")
    return path


def outcomes(program: Path, inputs: Sequence[tuple[bytes, bytes]], folder: Path) -> list[list[str]]:
    """For each base and delta what each way makes: "error:CRC-32:bytes"; the last three are sizes of memory."""
    packed = folder / "packed"
    parts = [struct.pack("<I", len(base)) + base + delta for base, delta in inputs]
    packed.write_bytes(b"".join(struct.pack("<I", len(part)) + part for part in parts))
    done = subprocess.run([program, packed], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    found = [line.split() for line in done.stdout.splitlines()]
    assert len(found) == len(inputs)
    return found


def makes(data: bytes) -> list[str]:
    """The outcome of all ways where they make a file."""
    return [f"0:{zlib.crc32(data):08x}:{len(data)}"] * WAYS


def errors(outcome: Sequence[str]) -> set[int]:
    return {int(part.split(":")[0]) for part in outcome[:WAYS]}


def vector(name: str) -> tuple[bytes, bytes, bytes]:
    old, new, update = ((VECTORS / f"{name}.{end}").read_bytes() for end in ("old.qac", "new.qac", "qacd"))
    return old, new, update


def applied(old: bytes, delta: bytes) -> bytes | None:
    """Return what numpy makes; None for an error."""
    try:
        with open_file(old) as base:
            return b"".join(updated(read_delta(memoryview(delta), "update"), base).chunks())
    except FormatError:
        return None


def test_vectors_are_there_and_never_written_again() -> None:
    lines = (VECTORS / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    paths = [path for path in VECTORS.iterdir() if path.suffix]
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert {name.split(".")[0] for name in sums} == {*PAIRS, *delta_pairs.CHAINS}
    with pytest.raises(SystemExit, match="kept for good"):
        delta_pairs.write(PAIRS[0])


def test_numpy_and_c_make_the_new_file_of_each_vector(program: Path, tmp_path: Path) -> None:
    vectors = [(name, *vector(name)) for name in PAIRS]
    old, new, update = ((GOLDEN / name).read_bytes() for name in ("old.qac", "new.qac", "update.qacd"))
    vectors.append(("golden", old, new, update))
    found = outcomes(program, [(base, delta) for _, base, _, delta in vectors], tmp_path)
    for (name, base, made, delta), outcome in zip(vectors, found, strict=True):
        assert applied(base, delta) == made, name
        assert errors(outcome) == {NO_ZSTD} if name == "zstd" else outcome[:WAYS] == makes(made), (name, outcome)
        if name == "zstd":
            continue
        lean, fast, buffer = (int(part) for part in outcome[WAYS:])
        assert lean <= fast and max(len(base), len(made)) <= buffer <= len(base) + len(made), name


def test_a_chain_and_its_order(program: Path, tmp_path: Path) -> None:
    count = delta_pairs.CHAINS["chain"][1]
    updates = [(VECTORS / f"chain.{n}.qacd").read_bytes() for n in range(count)]
    files = [(VECTORS / "chain.old.qac").read_bytes()]
    for update in updates:
        made = applied(files[-1], update)
        assert made is not None
        files.append(made)
    assert files[-1] == (VECTORS / "chain.new.qac").read_bytes()
    inputs = [(base, update) for base in files for update in updates]
    for number, outcome in enumerate(outcomes(program, inputs, tmp_path)):
        at, of = divmod(number, count)  # update `of` makes file `of + 1`
        if at == of:
            assert outcome[:WAYS] == makes(files[at + 1])
        else:
            assert errors(outcome) == {ALREADY_APPLIED if at == of + 1 else WRONG_BASE}


def test_every_flipped_byte_and_every_cut_is_refused(program: Path, tmp_path: Path) -> None:
    inputs = []
    for name in ("tuned_context", "refined_rans", "chunks", "types"):
        old, _, update = vector(name)
        for place in range(0, len(update), 11):
            damaged = bytearray(update)
            damaged[place] ^= 1 << place % 8
            inputs += [(old, bytes(damaged)), (old, update[:place])]
        inputs += [(old, update + b"\0"), (old, b"")]
        for place in range(0, len(old), 61):
            wrong = bytearray(old)
            wrong[place] ^= 1 << place % 8
            inputs.append((bytes(wrong), update))
    assert all(0 not in errors(outcome) for outcome in outcomes(program, inputs, tmp_path))


def hostile(delta: Delta, rng: random.Random) -> bytes:
    """A delta whose checksums are right, with a few bytes of one payload or of its choice of sections changed."""
    payloads = [delta.head, *(step.payload for step in delta.steps)]
    steps = list(delta.steps)
    if rng.random() < 0.15:
        chosen = rng.randrange(len(steps))
        step = rng.choice(steps)
        steps[chosen] = replace(steps[chosen], method=step.method, number=rng.randrange(4), payload=bytes(step.payload))
        return b"".join(delta_chunks(replace(delta, steps=tuple(steps))))
    chosen = rng.choice([n for n, payload in enumerate(payloads) if len(payload)])
    damaged = bytearray(payloads[chosen])
    for _ in range(rng.randrange(1, 4)):
        damaged[rng.randrange(min(len(damaged), rng.choice((8, 40, 4000))))] = rng.randrange(256)
    payloads[chosen] = bytes(damaged)
    steps = [replace(step, payload=payload) for step, payload in zip(steps, payloads[1:], strict=True)]
    return b"".join(delta_chunks(replace(delta, head=payloads[0], steps=tuple(steps))))


def hostile_ones() -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Bases with deltas, most of them hostile, and the files that the sound ones make."""
    rng, inputs, files = random.Random(13), [], []
    names = [name for name in PAIRS if name != "zstd"]
    for number in range(MUTANTS):
        old, new, update = vector(names[number % len(names)])
        plain = replace(read_delta(memoryview(update), "update"), left_out=delta_pairs.PLAIN)  # C has no zstd here
        changed = hostile(plain, rng)
        inputs.append((old, changed if number % 10 else update))  # some still make the file
        files.append(new)
    old, new, update = vector("refined_context")
    inputs.append((old, impossible_symbols(read_delta(memoryview(update), "update"), new)))
    return inputs, [*files, new]


def impossible_symbols(delta: Delta, made: bytes) -> bytes:
    """A delta with children that their coarser entries don't have, which the codec context has no slots for."""
    steps = list(delta.steps)
    with open_file(made) as container:
        place = len(steps) - 1
        parts = [part for part in SectionContents(container).parts(place) if part.stream.count]
        choices = choices_of(Context.id, container.stored(place), [part.stream for part in parts])
    assert choices is not None and parts[0].level > 0
    encoder = ChangeEncoder(0)
    for part in parts:
        largest = np.full(part.stream.count, part.stream.alphabet - 1, np.int32)
        encoder.add_alone(largest, part.stream.alphabet)
    payload = bytes([len(choices)]) + choices + bytes([0, *(NO_BASE for _ in parts)]) + encoder.finish()
    steps[place] = Step(DIFFERENCE, payload=payload)
    return b"".join(delta_chunks(replace(delta, steps=tuple(steps))))


def test_numpy_and_c_agree_on_hostile_deltas(program: Path, tmp_path: Path) -> None:
    inputs, files = hostile_ones()
    good = 0
    for (old, update), new, outcome in zip(inputs, files, outcomes(program, inputs, tmp_path), strict=True):
        made = applied(old, update)
        assert made in (None, new)  # a digest promises the result
        good += made is not None
        assert outcome[:WAYS] == makes(new) if made is not None else 0 not in errors(outcome)
    assert 0 < good < MUTANTS // 2


APPLY = """
import { applyDelta, QacError } from "./index.js";
import { crc32 } from "./bytes.js";
import { readFileSync } from "node:fs";
const packed = readFileSync(0);
const next = () => {
  const bytes = packed.subarray(at + 4, at + 4 + packed.readUInt32LE(at));
  at += 4 + bytes.length;
  return bytes;
};
let at = 0;
while (at < packed.length) {
  try {
    const made = await applyDelta(next(), next());
    console.log(`${crc32(made)}:${made.length}`);
  } catch (error) {
    if (!(error instanceof QacError) || error.message.includes("\\n")) throw error;
    console.log(error.name);
  }
}
"""


def test_numpy_and_javascript_agree_on_hostile_deltas() -> None:
    node = shutil.which("node")
    if node is None or int(subprocess.run([node, "-v"], capture_output=True, text=True).stdout[1:].split(".")[0]) < 20:
        pytest.skip("no node 20")
    inputs, files = hostile_ones()
    given = b"".join(struct.pack("<I", len(part)) + part for pair in inputs for part in pair)
    command = [node, "--input-type=module", "-e", APPLY]
    done = subprocess.run(command, cwd=SOURCES.parent / "js", input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[:2000]
    found = done.stdout.decode().split()
    assert len(found) == len(inputs)
    for (old, update), new, outcome in zip(inputs, files, found, strict=True):
        made = applied(old, update)
        assert outcome.endswith("Error") if made is None else outcome == f"{zlib.crc32(new)}:{len(new)}"


def test_what_c_cannot_make_again_is_refused_by_name(program: Path, tmp_path: Path) -> None:
    """A difference of a section with another codec, as a later version of the format may have one."""
    old, _, update = vector("tuned_rans")
    delta = read_delta(memoryview(update), "update")
    huffman = (HERE.parent / "vectors" / "v1" / "indices_huffman.qac").read_bytes()
    with open_file(huffman) as container:
        stored = [container.stored(place) for place in range(len(container.header.sections))]
        steps = [Step(WHOLE, payload=payload) for payload in stored[:-1]] + [Step(DIFFERENCE, payload=b"\0\0\0")]
        new = replace(delta.new, size=len(huffman))
        other = replace(delta, head=huffman[: container.start], steps=tuple(steps), new=new)
    assert errors(outcomes(program, [(old, b"".join(delta_chunks(other)))], tmp_path)[0]) == {UNSUPPORTED}


@pytest.mark.parametrize("more", [(), ("-DQAC_NO_LZMA", "-DQAC_NO_DEFLATE", "-DQAC_CRC_TABLES=8")], ids=str)
@pytest.mark.parametrize("compiler", ["clang", "arm"])
def test_other_compilers_find_nothing_to_warn_of(compiler: str, more: tuple[str, ...]) -> None:
    if compiler == "clang" and shutil.which("clang") is None:
        pytest.skip("no clang")
    command = ("clang",) if compiler == "clang" else arm_compiler()
    subprocess.run([*command, *STRICT, *more, "-fsyntax-only", SOURCES / "qac_delta.c"], check=True)


def test_zstd_by_the_callers_function(tmp_path: Path) -> None:
    """The vector that needs zstd, in place, called as from another language."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no gcc or clang")
    made = tmp_path / "delta.so"
    subprocess.run([compiler, *STRICT, "-shared", "-fPIC", SOURCES / "qac_delta.c", "-o", made], check=True)
    functions = ctypes.CDLL(str(made))

    def unzip(_: int, frame: int, stored: int, into: int, count: int) -> int:
        ctypes.memmove(into, decompress(memoryview(ctypes.string_at(frame, stored)), count), count)
        return 0

    old, new, update = vector("zstd")
    hook, arena, state = ZSTD(unzip), ctypes.create_string_buffer(1 << 16), ctypes.create_string_buffer(1 << 16)
    buffer, given = ctypes.create_string_buffer(old, 2048), ctypes.create_string_buffer(update, len(update))
    base = SourceStruct(ctypes.addressof(buffer), len(old), READ(), hook, None)
    delta = SourceStruct(ctypes.addressof(given), len(update), READ(), hook, None)
    assert functions.qac_delta_bytes() <= len(state)
    size = ctypes.c_size_t
    assert functions.qac_delta_open(state, ctypes.byref(base), ctypes.byref(delta), arena, size(len(arena))) == 0
    assert functions.qac_delta_apply_in_place(state, buffer, size(len(buffer))) == 0
    assert buffer.raw[: len(new)] == new
