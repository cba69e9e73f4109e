"""What the page makes of pictures and files, under node: the values of qacomp's own preprocessing, and of NumPy."""

import io
import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.datasets.preprocessing import Preprocessing

WEB = Path(__file__).resolve().parents[2] / "qacomp" / "page" / "web"
NODE = shutil.which("node")
PROGRAM = """
import { readFileSync } from "node:fs";
import { preprocess, readPreprocessing } from "./preprocessing.js";
import { randomFeeds, readFeeds } from "./values.js";
const { cases, files, inputs } = JSON.parse(readFileSync(0, "utf8"));
const made = cases.map(({ image, told }) => [...preprocess(image, readPreprocessing({ preprocessing: told })).data]);
const read = [];
for (const bytes of files) {
  const file = new Blob([Buffer.from(bytes, "base64")]);
  const told = ({ feeds }) => [feeds[0].dims, [...feeds[0].data]];
  read.push(await readFeeds(file, inputs).then(told, (error) => error.message));
}
const bad = [null, { channels: 2 }, { channels: 1, size: [28, 1e9], mean: [0], std: [1] }];
bad.push({ channels: 1, size: [1, 1], mean: [0], std: [0] });
const refused = bad.map((preprocessing) => readPreprocessing({ preprocessing }));
const random = [1, 1, 2].map((seed) => [...randomFeeds(inputs, seed)[0].data]);
console.log(JSON.stringify({ made, read, refused, random }));
"""


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def version() -> tuple[int, ...]:
    """The version of node, empty without it."""
    if NODE is None:
        return ()
    told = subprocess.run([NODE, "-p", "process.versions.node"], capture_output=True, text=True).stdout
    return tuple(map(int, told.strip().split(".")[:2]))


@pytest.mark.skipif(version() < (20, 19), reason="needs node 20.19, which sees by itself that a file is a module")
def test_pictures_and_files_become_the_tensors_that_python_makes(patience: Callable[[float], float]) -> None:
    assert NODE is not None
    rng = np.random.default_rng(0)
    cases: list[dict[str, Any]] = []
    wanted = []
    for channels, size, (height, width) in ((1, (28, 28), (70, 41)), (3, (9, 13), (5, 4)), (3, (8, 8), (8, 8))):
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        made = Preprocessing(size, channels, (0.1307,) * channels, tuple(0.2 + 0.1 * i for i in range(channels)))
        rgba = np.concatenate([pixels, np.full((height, width, 1), 255, np.uint8)], 2)
        image = {"width": width, "height": height, "data": rgba.ravel().tolist()}
        cases.append({"image": image, "told": made.to_dict()})
        wanted.append(made.apply(pixels[None]).ravel())
    array = rng.normal(size=(2, 3)).astype(np.float32)
    good = [npy(array[None]), npy(array), npy(array.astype(np.float64)), json.dumps(array.tolist()).encode()]
    good += [json.dumps({"x": {"dims": [1, 2, 3], "data": array.ravel().tolist()}}).encode()]
    bad = [npy(array.T), npy(array)[:-1], npy(array.astype(">f4")), b"\x93NUMPY", b"", b"[[1, 2], [3]]", b'{"y": [1]}']
    bad += [b'[[1, 2, "a"], [1, 2, 3]]', npy(np.asfortranarray(array))]
    given = {
        "cases": cases,
        "files": [b64encode(data).decode() for data in good + bad],
        "inputs": [{"name": "x", "dtype": "float32", "shape": [None, 2, 3]}],
    }
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", PROGRAM],
        cwd=WEB, input=json.dumps(given), capture_output=True, text=True, timeout=patience(60),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for ours, theirs in zip(found["made"], wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    for dims, values in found["read"][: len(good)]:
        assert dims == [1, 2, 3] and np.array_equal(np.array(values, np.float32), array.ravel())
    assert all(isinstance(said, str) and said for said in found["read"][len(good) :]), found["read"]
    assert found["refused"] == [None] * 4
    first, again, other = found["random"]
    assert first == again != other and len(first) == 6
