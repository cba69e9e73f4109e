"""Pickles whose structure is an attack: whatever they hold, wherever it stands, reading ends soon and small."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qacomp.checkpoints import read_checkpoint
from qacomp.errors import QacompError

PROGRAM = Path(__file__).with_name("hostile_pickles.py")
SPEC = importlib.util.spec_from_file_location(PROGRAM.stem, PROGRAM)
assert SPEC is not None and SPEC.loader is not None
hostile = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hostile)
SECONDS = 10.0 * float(os.environ["QACOMP_TIME_SCALE"])  # of CPU a file; each takes well below a second
KILOBYTES = 500 << 10  # of memory for all


OUTCOMES = {
    "zip: doubled tuple as a key": "1 tensors",
    "zip: deep tuple as a key": "1 tensors",
    "zip: doubled tuple as a storage key": "NotACheckpointError",
    "zip: doubled tuple to device": "1 tensors",
    "zip: doubled tuple beside tensors": "1 tensors",
    "zip: round list beside tensors": "1 tensors",
    "zip: round build beside tensors": "1 tensors",
    "zip: colliding keys beside tensors": "1 tensors",
    "zip: bytearray8 beside tensors": "NotACheckpointError",
    "zip: frame beside tensors": "NotACheckpointError",
    "zip: long4 beside tensors": "UnsafePickleError",
    "zip: copies beside tensors": "NotACheckpointError",
    "zip: memo beside tensors": "1 tensors",  # an index is only a name: nothing grows with it
    "legacy: doubled tuple to complex": "1 tensors",
    "zip: a tensor under very many names": "30000 tensors",
    "script: doubled tuple as an attribute": "1 tensors",
    "script: doubled modules with tensors": "NotACheckpointError",
    "script: a module in itself": "NotACheckpointError",
    "script: deep modules": "NotACheckpointError",
    "batch: doubled tuple as labels": "DataError",
    "batch: doubled lists among labels": "DataError",
    "batch: doubled tuple as a key": "1 images",
    "batch: bytes8 as bytes": "DataError",
}
"""How what comes out of some of the files begins."""


def outcomes(folder: Path) -> dict[str, tuple[float, str]]:
    """Read each hostile file in a process of its own, which a crash would end; return CPU seconds and what came out."""
    done = subprocess.run([sys.executable, str(PROGRAM), str(folder)], capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (rows[-1:], done.stderr[-500:])
    return {name: (cost, outcome) for name, cost, outcome in rows}


def test_every_hostile_file_is_read_or_refused_within_seconds(tmp_path: Path) -> None:
    """One test, so that the files are read once: workers of a parallel run share no fixture."""
    found = outcomes(tmp_path)
    peak = found.pop("peak")[0]
    assert len(found) > 1000
    slow = {name: cost for name, (cost, _) in found.items() if cost > SECONDS}
    assert not slow and peak < KILOBYTES
    long = {name: outcome for name, (_, outcome) in found.items() if "\n" in outcome or len(outcome) > 1200}
    assert not long
    assert [(name, found[name]) for name, start in OUTCOMES.items() if not found[name][1].startswith(start)] == []


# Steps that change the stack, memo or marks; whatever their order, they are read or refused.
STEPS = [
    b"}", b"]", b")", b"(", b"N", b"K\x01", b"\x85", b"\x86", b"\x87", b"t", b"a", b"e", b"s", b"u", b"q\x00", b"h\x00",
    b"q\x01", b"h\x01", b"\x94", b"b", b"R", b"\x81", b"Q", b"\x8f", b"\x90", b"\x91", b"\x93", hostile.text("w"),
    hostile.W, hostile.STORAGE % hostile.text("0"), b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nSize\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ccollections\nOrderedDict\n",
    b"c_codecs\nencode\n", b"ctorch\nTensor\n", b"c__torch__\nM\n)\x81", b"ctorch\nfloat32\n", b"\x8a\x01\xff",
]  # fmt: skip


@given(st.lists(st.sampled_from(STEPS), max_size=40), st.sampled_from(["zip", "legacy", "script"]))
def test_any_order_of_steps_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, steps: list[bytes], kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "steps.pt"
    data = hostile.pickled(b"}", hostile.text("w"), hostile.W, b"s", hostile.text("x"), *steps, b"s")
    {"zip": hostile.write_state, "legacy": hostile.write_legacy, "script": hostile.write_script}[kind](path, data)
    try:
        checkpoint = read_checkpoint(path)
    except QacompError as error:
        assert "\n" not in str(error)
    else:
        assert all(tensor.numel() <= 4 for tensor in checkpoint.state.values())
