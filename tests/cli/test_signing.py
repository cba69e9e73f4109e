"""`qacomp sign` and `verify --signature`: what is signed can't be changed, and each wrong thing has its line."""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from keys import authority, key_pair
from range_server import range_server

import qacomp as library
from qacomp.errors import IrregularFileError, SignatureError
from qacomp.formats import HeaderError, ShardWriter, SharedTensor, save_file

pytest.importorskip("OpenSSL")
verifying = pytest.importorskip("model_signing.verifying")


def made(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    book = np.linspace(-1, 1, 4, dtype=np.float32)
    save_file(path, {"w": SharedTensor(book, rng.integers(0, 4, (30, 40)).astype(np.uint8))})
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return key_pair(tmp_path_factory.mktemp("keys"))


def test_a_signature_is_verified_here_and_by_the_package(
    tmp_path: Path, keys: tuple[Path, Path], qacomp: Callable[..., Any]
) -> None:
    model = made(tmp_path / "m.qac")
    told = json.loads(qacomp("sign", model, "--key", keys[0], "--json").out)
    assert told["files"] == 1 and told["output"] == str(tmp_path / "m.qac.sig")
    verifying.Config().use_elliptic_key_verifier(public_key=keys[1]).verify(model, tmp_path / "m.qac.sig")
    moved = model.rename(tmp_path / "renamed.qac")
    answer = qacomp("verify", moved, "--signature", tmp_path / "m.qac.sig", "--public-key", keys[1])
    assert answer.code == 0 and "m.qac.sig: signs 1 file, with the key of" in answer.out
    answer = qacomp("verify", moved, "--signature", tmp_path / "m.qac.sig", "--public-key", keys[1], "--json")
    assert json.loads(answer.out)["signature"]["sha256"] == told["sha256"]
    assert qacomp("verify", moved, "--signature", tmp_path / "m.qac.sig").code == 2
    assert qacomp("verify", moved, "--public-key", keys[1]).code == 2


def test_each_thing_that_is_wrong_has_its_line(
    tmp_path: Path, keys: tuple[Path, Path], qacomp: Callable[..., Any]
) -> None:
    (tmp_path / "there").mkdir()
    model, other = made(tmp_path / "m.qac"), made(tmp_path / "other.qac", 1)
    changed = made(tmp_path / "there" / "m.qac", 2)
    signature, wrong = tmp_path / "m.qac.sig", key_pair(tmp_path)
    library.sign(model, keys[0])
    forged = json.loads(signature.read_text())
    payload = base64.b64decode(forged["dsseEnvelope"]["payload"]).replace(b"m.qac", b"n.qac")
    forged["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (tmp_path / "forged.sig").write_text(json.dumps(forged))
    for path, file, key, said in (
        (other, signature, keys[1], "other.qac: isn't what .*, which was named m.qac"),
        (changed, signature, keys[1], "m.qac: isn't what .*: it was changed after it was signed"),
        (model, signature, wrong[1], "was made with another key than"),
        (model, tmp_path / "forged.sig", keys[1], "forged.sig: isn't valid for"),
        (model, model, keys[1], "m.qac: isn't a signature of a model"),
        (model, signature, keys[0], "isn't a public elliptic-curve key"),
        (model, signature, signature, "isn't a public elliptic-curve key"),
    ):
        with pytest.raises(SignatureError, match=said):
            library.verify_signature(path, file, key)
        answer = qacomp("verify", path, "--signature", file, "--public-key", key)
        assert answer.code == 1 and len(answer.err.splitlines()) == 1
    for path, key, said in ((model, keys[1], "isn't a private key"), (signature, keys[0], "not a .qac container")):
        answer = qacomp("sign", path, "--key", key, "-o", tmp_path / "x.sig")
        assert answer.code == 1 and said in answer.err and not (tmp_path / "x.sig").exists()
    assert qacomp("sign", model, "--key", keys[0]).code == 1  # it exists
    assert qacomp("sign", model, "--key", keys[0], "-o", keys[0], "--force").code == 1


def test_a_file_by_url_is_the_one_that_is_signed(
    tmp_path: Path, keys: tuple[Path, Path], qacomp: Callable[..., Any]
) -> None:
    (tmp_path / "served").mkdir()
    model = made(tmp_path / "served" / "m.qac")
    library.sign(model, keys[0], tmp_path / "m.sig")
    with range_server(tmp_path / "served") as server:
        arguments = ("verify", f"{server.url}/m.qac", "--signature", tmp_path / "m.sig", "--public-key", keys[1])
        root = json.loads(qacomp(*arguments, "--json").out)["root"]
        assert qacomp(*arguments, "--root", root).code == 0
        assert json.loads(qacomp("inspect", model, "--json").out)["root"] == root
        assert "its root is" in qacomp(*arguments, "--root", "0" * 64).err
        made(model, 1)
        assert "was changed after it was signed" in qacomp(*arguments).err


def test_hostile_signatures_are_refused(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    model, bad = made(tmp_path / "m.qac"), tmp_path / "bad.sig"
    data = library.sign(model, keys[0]).output.read_bytes()
    told = json.loads(data)
    texts = [data[:cut] for cut in range(0, len(data), 97)]
    texts += [
        b"[" * 100_000,
        b"null",
        b"[]",
        b"{}",
        b'{"dsseEnvelope":{"payload":"' + b"A" * 4000 + b'"}}',
        b"\xff" * 9,
    ]
    strange: list[Any] = [None, [], {}, 7, "x", "AAAA", [[[]]], [{}], [{"sig": "AAAA"}]]
    for value in strange:
        texts += [json.dumps(told | {key: value}).encode() for key in told]
        envelope = told["dsseEnvelope"]
        texts += [json.dumps(told | {"dsseEnvelope": envelope | {key: value}}).encode() for key in envelope]
    for text in texts:
        bad.write_bytes(text)
        with pytest.raises(SignatureError, match=r"bad\.sig: is"):
            library.verify_signature(model, bad, keys[1])
    with bad.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(IrregularFileError, match="bytes; is it the right file"):
        library.verify_signature(model, bad, keys[1])


def test_a_folder_is_signed_with_all_its_files(
    tmp_path: Path, keys: tuple[Path, Path], qacomp: Callable[..., Any]
) -> None:
    folder = tmp_path / "net"
    (folder / "deep").mkdir(parents=True)
    made(folder / "m.qac"), made(folder / "deep" / "n.qac", 1)
    assert library.sign(folder, keys[0]).files == 2
    arguments = ("verify", folder, "--signature", tmp_path / "net.sig", "--public-key", keys[1])
    assert "signs 2 files" in qacomp(*arguments).out
    assert "lies in the folder" in qacomp("sign", folder, "--key", keys[0], "-o", folder / "a.sig").err
    (folder / "new").write_text("x")
    assert "changed, added or removed" in qacomp(*arguments).err
    (tmp_path / "empty").mkdir()
    with pytest.raises(SignatureError, match="no files"):
        library.sign(tmp_path / "empty", keys[0])


def test_an_index_signs_its_shards(tmp_path: Path, keys: tuple[Path, Path], qacomp: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    with ShardWriter(tmp_path / "m.qac", 10_000) as writer:
        for number in range(3):
            writer.add(f"t{number}", rng.normal(size=2000).astype(np.float32))
    index, signature = tmp_path / "m.qac.index.json", tmp_path / "m.qac.index.json.sig"
    library.sign(index, keys[0])
    arguments = ("verify", index, "--signature", signature, "--public-key", keys[1])
    assert qacomp(*arguments).code == 0
    assert "its root is" in qacomp("verify", index, "--root", "0" * 64).err
    shard = tmp_path / "m-00002-of-00003.qac"
    shard.write_bytes((tmp_path / "m-00001-of-00003.qac").read_bytes())
    assert "isn't the shard that" in qacomp(*arguments).err
    assert "isn't the shard that" in qacomp("sign", index, "--key", keys[0], "-o", tmp_path / "b.sig").err
    told = json.loads(index.read_text())
    for entry in told["shards"]:
        del entry["root"]
    index.write_text(json.dumps(told))
    with pytest.raises(HeaderError, match="binds no roots"):
        library.sign(index, keys[0], tmp_path / "c.sig")


def test_certificates(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    model, root, own = made(tmp_path / "m.qac"), *authority(tmp_path, keys[0])
    library.sign(model, keys[0], certificates=[own])
    found = library.verify_signature(model, tmp_path / "m.qac.sig", certificates=[root])
    assert found.files == 1
    (tmp_path / "more").mkdir()
    stranger, _ = authority(tmp_path / "more", keys[0])
    for certificate in (stranger, keys[1]):
        with pytest.raises(SignatureError):
            library.verify_signature(model, tmp_path / "m.qac.sig", certificates=[certificate])
    with pytest.raises(SignatureError, match="isn't a signature that can be checked"):
        library.verify_signature(model, tmp_path / "m.qac.sig", keys[1])


def test_one_signature_is_of_all_that_compress_the_same(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """A third party that compresses the same source with the same settings and seed gets the bytes that are signed."""
    source = tmp_path / "net"
    source.mkdir()
    rng = np.random.default_rng(3)
    values = {"a": rng.normal(size=(40, 50)).astype(np.float32), "b": rng.normal(size=50).astype(np.float32)}
    safetensors.numpy.save_file(values, source / "model.safetensors")
    (source / "config.json").write_text("{}")
    one, other, third = (tmp_path / f"{name}.qac" for name in ("one", "other", "third"))
    for output, k in ((one, 8), (other, 8), (third, 4)):
        library.compress(source, k=k, seed=5, output=output)
    library.sign(one, keys[0])
    other.rename(one)
    assert library.verify_signature(one, tmp_path / "one.qac.sig", keys[1]).files == 1
    third.rename(one)
    with pytest.raises(SignatureError, match="it was changed"):
        library.verify_signature(one, tmp_path / "one.qac.sig", keys[1])


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(tmp_path / "m.qac")
    library.sign(model, keys[0])
    for name in [name for name in sys.modules if name.partition(".")[0] == "model_signing"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for call in (
        lambda: library.sign(model, keys[0], tmp_path / "x.sig"),
        lambda: library.verify_signature(model, tmp_path / "m.qac.sig", keys[1]),
    ):
        with pytest.raises(library.QacompError, match=r"needs model-signing: pip install 'qacomp\[sign\]'"):
            call()
