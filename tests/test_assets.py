"""Parts of the program that come from npm's registry: by the real npm, from a registry on loopback."""

import hashlib
import shutil
import threading

import onnxruntime
import pytest
import yaml
from package_index import Index, sdist

import radkit._assets as parts
from radkit._assets import asset, assets, verify
from radkit._assets.sources import cache_folder
from radkit.errors import ChecksumError, DataError, SourceUnreachable

TARBALL = "made-up-1.0.0.tgz"
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: apt-get install npm")


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry that npm's settings point at, a table with one part of it, an empty cache."""
    server = Index({TARBALL: sdist("package")})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.url.replace("simple", ""))
    monkeypatch.setenv("NPM_CONFIG_CACHE", str(tmp_path / "npm"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("RADKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parts, "TABLE", tmp_path / "assets.yaml")
    write_table()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def write_table(**fields):
    content = sdist("package")
    entry = {key: f"some {key}" for key in ("title", "shows", "licence", "attribution")}
    entry |= {"package": "made-up", "version": "1.0.0", "archive": TARBALL, "size": len(content)}
    entry |= {"sha256": hashlib.sha256(content).hexdigest()}
    entry |= {"files": {"a/one.js": {"member": "package/a/1", "sha256": hashlib.sha256(b"one").hexdigest()}}}
    parts.TABLE.write_text(yaml.safe_dump({"made-up": {**entry, **fields}}))


@needs_npm
def test_npm_brings_a_part_and_only_what_the_table_names_is_kept(registry, capfd):
    assert verify(assets()["made-up"]) == ["made-up has not been fetched"]
    folder = asset("made-up")
    assert (folder / "a" / "one.js").read_bytes() == b"one" and verify(assets()["made-up"]) == []
    kept = [path.name for path in cache_folder().rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert kept == ["one.js"]
    assert "npm fetches" in capfd.readouterr().err
    asked = len(registry.seen)
    assert asset("made-up") == folder and len(registry.seen) == asked  # from the cache


@needs_npm
def test_other_bytes_than_promised_are_refused(registry):
    write_table(sha256="0" * 64)
    with pytest.raises(ChecksumError, match=f"{TARBALL} is not the file"):
        asset("made-up", progress=False)
    assert not (cache_folder() / "made-up").exists()


@needs_npm
def test_a_registry_without_the_version_says_what_to_do(registry):
    write_table(version="2.0.0", archive="made-up-2.0.0.tgz")
    with pytest.raises(SourceUnreachable, match=r"npm says E\w+\. Name an .*NPM_CONFIG_REGISTRY, or copy .*/made-up"):
        asset("made-up", progress=False)


@needs_npm
def test_a_registry_that_is_down_says_what_to_do(registry, monkeypatch):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://someone:secret@127.0.0.1:1/")
    with pytest.raises(SourceUnreachable, match="npm says ECONNREFUSED") as caught:
        asset("made-up", progress=False)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_where_there_is_no_npm_pip_brings_one(registry, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (asset("made-up", progress=False) / "a" / "one.js").read_bytes() == b"one"
    assert not [path for path in (cache_folder() / "downloads").iterdir() if path.suffix != ".lock"]


def test_where_npm_cannot_be_had_the_message_says_so(registry, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceUnreachable, match=r"npm is not installed here, and pip cannot bring nodejs.*Name an"):
        asset("made-up", progress=False)


def test_an_unknown_part_is_named():
    with pytest.raises(DataError, match=r"no source 'text-detectr'.* mean 'text-detector'"):
        asset("text-detectr")


def test_every_part_says_whose_it_is_and_how_it_may_be_used():
    assert set(assets()) == {"text-detector", "itk-vtk-viewer"}
    assert {part.licence for part in assets().values()} == {"Apache-2.0", "BSD-3-Clause"}


def test_the_text_detector_takes_a_picture_and_gives_a_probability_a_pixel():
    session = onnxruntime.InferenceSession(asset("text-detector") / "det.onnx")
    assert [len(value.shape) for value in (*session.get_inputs(), *session.get_outputs())] == [4, 4]
