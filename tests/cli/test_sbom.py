"""`qacomp sbom`: valid CycloneDX, the same bytes again, only what the file tells, and one line for what is bad."""

import hashlib
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qacomp as library
from qacomp.formats import SharedTensor, save_file

DIGEST = "ab" * 32
STRANGE = 'x"\n</script>\x1b[31m\u202e\ud800'


def made(path: Path, meta: dict[str, Any]) -> Path:
    indices = np.arange(12).reshape(3, 4).astype(np.uint8) % 4
    save_file(path, {"w": SharedTensor(np.linspace(-1, 1, 4, dtype=np.float32), indices)}, meta=meta)
    return path


def document_of(path: Path) -> dict[str, Any]:
    out = path.with_suffix(".json")
    library.sbom(path, out, force=True)
    found: dict[str, Any] = json.loads(out.read_bytes())
    return found


def facts(component: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in component["properties"]}


def errors_of(text: str) -> list[str]:
    """Return what the schema of CycloneDX 1.6 finds wrong; it is read without its package, which imports slowly."""
    validators, found = pytest.importorskip("jsonschema"), find_spec("cyclonedx")
    if found is None or not found.submodule_search_locations:
        pytest.skip("cyclonedx-python-lib isn't installed")
    folder = Path(found.submodule_search_locations[0]) / "schema" / "_res"
    names = [f"{name}.SNAPSHOT.schema.json" for name in ("bom-1.6", "spdx", "jsf-0.82")]
    schemas = [json.loads((folder / name).read_text(encoding="utf-8")) for name in names]
    referencing = pytest.importorskip("referencing.jsonschema")
    resources = [(schema["$id"], referencing.DRAFT7.create_resource(schema)) for schema in schemas]
    registry = pytest.importorskip("referencing").Registry().with_resources(resources)
    checked = validators.Draft7Validator(schemas[0], registry=registry)
    return [error.message[:500] for error in checked.iter_errors(json.loads(text))]


WHOLE = {
    "qacomp": "0.1.0",
    "arch": "resnet20",
    "data": STRANGE[:-1],
    "accuracy": {"original": 91.5, "shared": None, "tuned": 91.25},
    "metric": {"name": "F1", "original": 0.5, "decoded": 0.25},
    "agreement": {"cosine": 0.995},
    "submodels": {"level2": {"accuracy": 80, "macs": 1000}},
    "verdict": "good",
    "verdict_reasons": ["accuracy 91.50 -> 91.25 %"],
    "settings": 'k = 16\nsharing = "kmeans"\n',
    "source": {"sha256": DIGEST, "bytes": 1000, "kind": "torch", "external_sha256": ["cd" * 32]},
}
FOLDER = {
    "source": {"sha256": DIGEST, "bytes": 1000, "kind": "folder"},
    "folder": {"weights": [], "sha256": {"b.json": "12" * 32, "a.json": "12" * 32}},
}


def test_a_model_that_was_measured(packed: Path, tmp_path: Path, qacomp: Callable[..., Any]) -> None:
    out = tmp_path / "bom.json"
    answer = qacomp("sbom", packed, "-o", out)
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    assert answer.code == 0 and digest in answer.out.replace("\n", "")
    again = qacomp("sbom", packed, "-o", tmp_path / "again.json", "--json")
    assert again.json["sha256"] == digest and (tmp_path / "again.json").read_bytes() == out.read_bytes()
    document = json.loads(out.read_bytes())
    model = document["metadata"]["component"]
    assert model["type"] == "machine-learning-model" and model["hashes"] == [{"alg": "SHA-256", "content": digest}]
    with library.open_file(packed) as opened:
        meta, size = opened.meta, packed.stat().st_size
    assert model["pedigree"]["ancestors"][0]["hashes"][0]["content"] == meta["source"]["sha256"]
    card = model["modelCard"]
    told = {f["type"]: f["value"] for f in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert told["top-1 accuracy, percent: original"] == repr(meta["accuracy"]["original"])
    assert card["modelParameters"]["modelArchitecture"] == meta["arch"]
    assert facts(model)["qacomp:bytes"] == str(size) and facts(card)["qacomp:verdict"] == meta["verdict"]


def test_all_that_the_metadata_tell(tmp_path: Path) -> None:
    model = document_of(made(tmp_path / "m.qac", WHOLE))["metadata"]["component"]
    assert facts(model)["qacomp:setting:k"] == "16" and facts(model)["qacomp:setting:sharing"] == "kmeans"
    assert [f["value"] for f in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]] == [
        *("91.5", "91.25", "0.5", "0.25", "80", "1000", "0.995")
    ]
    (ancestor,) = model["pedigree"]["ancestors"]
    assert [file["name"] for file in ancestor["components"]] == ["external data 1"]
    (folder,) = document_of(made(tmp_path / "f.qac", FOLDER))["metadata"]["component"]["pedigree"]["ancestors"]
    assert "hashes" not in folder and [file["name"] for file in folder["components"]] == ["a.json", "b.json"]


def test_a_file_without_metadata_claims_nothing(tmp_path: Path) -> None:
    model = document_of(made(tmp_path / "m.qac", {}))["metadata"]["component"]
    assert not {"modelCard", "pedigree"} & model.keys()


@pytest.mark.parametrize(
    "meta", [WHOLE, FOLDER, {}, {"settings": "[" * 5000}, {"settings": STRANGE[:-1]}], ids=range(5)
)
def test_the_schema_accepts_it(meta: dict[str, Any], tmp_path: Path) -> None:
    path = made(tmp_path / "m.qac", meta)
    library.sbom(path, tmp_path / "bom.json")
    text = (tmp_path / "bom.json").read_text(encoding="ascii")
    assert text.isprintable() or set(text) - set(map(chr, range(32, 127))) == {"\n"}
    assert errors_of(text) == []
    assert errors_of(text.replace('"machine-learning-model"', '"mill"')) != []


def test_the_number_follows_the_bytes(tmp_path: Path) -> None:
    one, same, other = (made(tmp_path / f"{n}.qac", {"arch": arch}) for n, arch in enumerate(("a", "a", "b")))
    first, second, third = (document_of(path)["serialNumber"] for path in (one, same, other))
    assert first == second != third


def test_what_cant_be_told(tmp_path: Path, qacomp: Callable[..., Any]) -> None:
    bad = made(tmp_path / "bad.qac", {"source": {"sha256": "../../etc"}})
    cut = tmp_path / "cut.qac"
    cut.write_bytes(bad.read_bytes()[:40])
    good, out = made(tmp_path / "m.qac", {}), tmp_path / "bom.json"
    for path, said in ((bad, "is no SHA-256"), (cut, "cut.qac"), (tmp_path / "none.qac", "none.qac")):
        answer = qacomp("sbom", path, "-o", out)
        assert answer.code == 1 and said in answer.err and len(answer.err.splitlines()) == 1
        assert not out.exists()
    before = good.read_bytes()
    assert qacomp("sbom", good, "-o", good, "--force").code == 1 and good.read_bytes() == before
    out.write_text("mine")
    assert qacomp("sbom", good, "-o", out).code == 1 and out.read_text() == "mine"
