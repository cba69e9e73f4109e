"""Decoding a level of a progressive container, and a file that is cut off behind one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from qacomp.formats import Level, SharedTensor, open_file, save_file

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json
COARSE, FINE = np.array([-0.5, 0.5], np.float32), np.array([-0.75, -0.25, 0.25, 0.75], np.float32)


def progressive(path: Path) -> np.ndarray[Any, Any]:
    """Write two levels of 2 and 4 shared values; gives the indices into the finer codebook."""
    indices = np.random.default_rng(0).integers(0, 4, (200, 300)).astype(np.uint8)
    levels = (Level(COARSE, np.array([0, 0, 1, 1])),)
    save_file(path, {"w": SharedTensor(FINE, indices, levels=levels)}, meta={})
    return indices


def test_each_level_decodes_by_its_number_of_shared_values(qacomp: Qacomp, tmp_path: Path) -> None:
    indices = progressive(tmp_path / "p.qac")
    for k, expected in ((2, COARSE[indices // 2]), (4, FINE[indices])):
        target = tmp_path / f"{k}.safetensors"
        assert qacomp("decode", tmp_path / "p.qac", "--level", str(k), "-o", target).code == 0
        assert np.array_equal(load_file(target)["w"], expected)
    answer = qacomp("decode", tmp_path / "p.qac", "--level", "3", "-o", tmp_path / "x.safetensors")
    assert answer.code == 1 and "2, 4" in answer.err


def test_a_file_cut_behind_the_first_level_decodes_at_it_when_allowed(qacomp: Qacomp, tmp_path: Path) -> None:
    whole, cut = tmp_path / "p.qac", tmp_path / "cut.qac"
    indices = progressive(whole)
    with open_file(whole) as container:
        second = min(s.offset for s in container.sections if s.level == 1)
    cut.write_bytes(whole.read_bytes()[: second + 10])
    answer = qacomp("decode", cut, "-o", tmp_path / "c.safetensors")
    assert answer.code == 1 and "--allow-truncated" in answer.err and not (tmp_path / "c.safetensors").exists()
    assert qacomp("decode", cut, "--allow-truncated", "-o", tmp_path / "c.safetensors").code == 0
    assert np.array_equal(load_file(tmp_path / "c.safetensors")["w"], COARSE[indices // 2])
