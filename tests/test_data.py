"""The catalog, and fetching from it: against a real index on loopback, and every way in which that can go wrong."""

import hashlib
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import yaml
from package_index import FILM, SDIST, SPINE, WHEEL, Index, sdist, wheel

from radkit._assets.sources import cache_folder
from radkit.data import catalog, fetch, read, read_labels
from radkit.data.cache import verify
from radkit.errors import ChecksumError, DataError, SourceUnreachable


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def entry(archive: str, content: bytes, **files: tuple[str, bytes]) -> dict:
    return {
        **{key: f"some {key}" for key in ("title", "shows", "licence", "attribution")},
        **{"package": "Made_Up", "version": "1.0", "archive": archive, "size": len(content), "sha256": sha256(content)},
        "files": {
            path.replace("__", "."): {"member": member, "sha256": sha256(inside)}
            for path, (member, inside) in files.items()
        },
    }


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index that pip's settings point at, a catalog of what it holds, an empty cache."""
    server = Index({WHEEL: wheel(), SDIST: sdist()})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "RADKIT_STAND_INS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("RADKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RADKIT_CATALOG", str(tmp_path / "catalog.yaml"))
    film, spine = ("made_up/film.dcm", FILM), ("made_up/spine.nii.gz", SPINE)
    series = {"series/1__dcm": ("made_up-1.0/a/1", b"one"), "series/2__dcm": ("made_up-1.0/a/2", b"two")}
    write_catalog(
        {
            "chest-radiograph": entry(WHEEL, server.archives[WHEEL], image__dcm=film),
            "spine": entry(WHEEL, server.archives[WHEEL], image__nii__gz=spine),
            "series": entry(SDIST, server.archives[SDIST], **series),
            "labels": entry(SDIST, server.archives[SDIST], labels__nrrd=("made_up-1.0/b.nrrd", b"three")),
        }
    )
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()


def write_catalog(entries: dict) -> None:
    Path(os.environ["RADKIT_CATALOG"]).write_text(yaml.safe_dump(entries))


def change(name: str, **fields) -> None:
    entries = yaml.safe_load(Path(os.environ["RADKIT_CATALOG"]).read_text())
    entries[name].update(fields)
    write_catalog(entries)


def cached() -> list[str]:
    """Every file in the cache but the locks."""
    files = (file for file in cache_folder().rglob("*") if not file.is_dir() and file.suffix != ".lock")
    return sorted(file.relative_to(cache_folder()).as_posix() for file in files)


def in_another_process(code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", f"from radkit.data import fetch\n{code}"], stderr=subprocess.PIPE, text=True
    )


def test_the_catalog_names_every_source_with_its_licence_and_checksums():
    sources = catalog()
    assert {*sources} == {
        *("chest-ct", "chest-ct-lung1", "chest-ct-lung2", "chest-ct-aorta", "abdomen-ct-dicom", "chest-radiograph"),
        *("brain-mr-dicom", "brain-atlas"),
    }
    for source in sources.values():
        assert all([source.title, source.shows, source.licence, source.attribution, source.files])
        assert source.version in source.archive
    for name in ("abdomen-ct-dicom", "brain-mr-dicom"):
        assert sum(path.startswith("series/") for path in sources[name].files) == 20


def test_fetch_unpacks_what_the_catalog_names_and_keeps_no_archive(index, capfd):
    spine = fetch("spine", stand_in=False)
    assert {key: path.read_bytes() for key, path in spine.files.items()} == {"image": SPINE}
    assert (spine.stand_in, spine.title, spine.attribution) == (False, "some title", "some attribution")
    assert WHEEL in capfd.readouterr().err  # the progress bar
    assert cached() == ["chest-radiograph/image.dcm", "spine/image.nii.gz"]


def test_sources_of_one_archive_are_downloaded_once(index, capfd):
    series, labels = (fetch(name, stand_in=False, progress=False) for name in ("series", "labels"))
    assert [path.read_bytes() for path in sorted(series.files["series"].iterdir())] == [b"one", b"two"]
    assert labels.files["labels"].read_bytes() == b"three"
    assert index.downloads() == [None]
    assert capfd.readouterr().err == ""


def test_a_folder_of_archives_is_an_index_too(index, tmp_path, monkeypatch):
    (tmp_path / WHEEL).write_bytes(index.archives[WHEEL])
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetch("spine", stand_in=False).files["image"].read_bytes() == SPINE
    assert (tmp_path / WHEEL).is_file() and index.seen == []


def test_a_second_index_is_asked_when_the_first_does_not_answer(index, tmp_path, monkeypatch):
    pages = tmp_path / "simple" / "made-up"
    pages.mkdir(parents=True)
    (pages / "index.html").write_text(f'<a href="../{WHEEL}">{WHEEL}</a>')
    (pages.parent / WHEEL).write_bytes(index.archives[WHEEL])
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", pages.parent.as_uri())
    assert fetch("spine", stand_in=False).files["image"].read_bytes() == SPINE


def test_a_download_that_is_cut_goes_on_where_it_stopped(index):
    index.cut = 2
    assert fetch("chest-radiograph", stand_in=False).files["image"].read_bytes() == FILM
    first, second, third = index.downloads()
    assert first is None and 0 < int(second[6:-1]) < int(third[6:-1])


def test_a_server_that_cannot_resume_sends_it_all_again(index):
    index.cut, index.ranges = 1, False
    assert fetch("chest-radiograph", stand_in=False).files["image"].read_bytes() == FILM
    assert len(index.downloads()) == 2


def test_a_killed_fetch_leaves_only_a_part_and_the_next_one_resumes(index):
    index.gate.clear()
    process = in_another_process("fetch('chest-radiograph', stand_in=False)")
    part = cache_folder() / "downloads" / f"{WHEEL}.part"
    while not (part.exists() and part.stat().st_size > 100_000) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert cached() == [f"downloads/{WHEEL}.part"]
    index.gate.set()
    kept = part.stat().st_size
    assert fetch("chest-radiograph", stand_in=False).files["image"].read_bytes() == FILM
    assert index.downloads() == [None, f"bytes={kept}-"]


@pytest.mark.slow
def test_two_processes_that_fetch_the_same_thing_download_it_once(index):
    index.gate.clear()
    both = [in_another_process("fetch('chest-radiograph', stand_in=False)") for _ in range(2)]
    while not index.downloads() and all(process.poll() is None for process in both):
        time.sleep(0.02)
    time.sleep(0.5)  # the second one reaches the lock
    index.gate.set()
    assert [process.communicate()[1][-300:] for process in both if process.wait()] == []
    assert index.downloads() == [None] and verify("chest-radiograph") == []


def test_a_wrong_checksum_is_refused_and_never_papered_over(index):
    found = sha256(index.archives[WHEEL])
    change("chest-radiograph", sha256="0" * 64)
    with pytest.raises(ChecksumError, match=f"{WHEEL}.*begins {found[:12]}.*{'0' * 12}.*once more"):
        fetch("chest-radiograph")
    assert cached() == []


def test_a_member_that_is_not_what_its_entry_promises_is_refused(index):
    change("spine", files={"image.nii.gz": {"member": "made_up/spine.nii.gz", "sha256": "1" * 64}})
    with pytest.raises(ChecksumError, match=r"made_up/spine\.nii\.gz.*mend the entry"):
        fetch("spine")
    assert "spine/image.nii.gz" not in cached()


def test_an_archive_without_the_member_or_with_a_link_in_its_place_is_refused(index):
    for member in ("made_up-1.0/absent.txt", "made_up-1.0/link.txt"):
        change("labels", files={"labels.txt": {"member": member, "sha256": "1" * 64}})
        with pytest.raises(DataError, match=f"holds no file {member}"):
            fetch("labels")


@pytest.mark.parametrize("path", ["../../out.txt", "/tmp/out.txt", "series/../../out.txt", "C:\\out.txt"])
def test_a_path_that_leaves_the_cache_is_refused(index, path):
    change("spine", files={path: {"member": "../../outside.txt", "sha256": sha256(b"must not leave the cache")}})
    with pytest.raises(DataError, match="not a plain relative path"):
        fetch("spine")


def test_a_member_that_would_leave_the_cache_stays_in_it(index):
    change("spine", files={"image.txt": {"member": "../../outside.txt", "sha256": sha256(b"must not leave the cache")}})
    assert fetch("spine").files["image"].read_bytes() == b"must not leave the cache"
    assert not list(cache_folder().parent.glob("outside.txt"))


@pytest.mark.parametrize("wrong", [{"licence": None}, {"sha256": "abc"}, {"size": "large"}, {"files": {"a.dcm": "b"}}])
def test_a_catalog_entry_that_lacks_something_is_named(index, wrong):
    entries = yaml.safe_load(Path(os.environ["RADKIT_CATALOG"]).read_text())
    entries["spine"] = {key: value for key, value in {**entries["spine"], **wrong}.items() if value is not None}
    write_catalog(entries)
    with pytest.raises(DataError, match="'spine'"):
        catalog()


def test_a_name_that_is_not_in_the_catalog_gets_the_nearest_one():
    with pytest.raises(DataError, match=r"mean 'chest-radiograph'.*chest-ct-lung2"):
        fetch("chest-radiogram")


def test_an_index_without_the_file_says_what_to_do(index):
    del index.archives[WHEEL]
    with pytest.raises(SourceUnreachable, match=r"not on 127\.0\.0\.1\. Name an .*PIP_INDEX_URL.*RADKIT_STAND_INS"):
        fetch("chest-radiograph", stand_in=False)


def test_an_index_that_is_down_says_what_to_do_and_no_password(index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:1/simple")
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1 did not answer\. Name an index") as caught:
        fetch("chest-radiograph", stand_in=False)
    assert "secret" not in str(caught.value)


def test_a_connection_that_always_breaks_says_how_far_it_came_and_keeps_that(index):
    index.cut = 100  # half of what is left each time, down to nothing
    with pytest.raises(SourceUnreachable, match=r"[\d,]+ of [\d,]+ bytes .*, then 127\.0\.0\.1 did not answer"):
        fetch("chest-radiograph", stand_in=False)
    assert cached() == [f"downloads/{WHEEL}.part"]


@pytest.mark.slow
def test_the_stand_in_is_labelled_and_gives_way_to_the_real_one(index, monkeypatch):
    monkeypatch.setenv("RADKIT_STAND_INS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked_for = fetch("chest-radiograph")
    assert asked_for.stand_in and asked_for.title.startswith("STAND-IN (generated): ")
    assert "no patient" in asked_for.attribution
    assert asked_for.files["image"].read_bytes()[128:132] == b"DICM"
    assert index.seen == [] and not [name for name in cached() if ".part" in name]

    monkeypatch.delenv("RADKIT_STAND_INS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    built = asked_for.files["image"].stat().st_mtime_ns
    with pytest.warns(UserWarning, match=r"stand-in for 'chest-radiograph'.*did not answer"):
        fallen_back = fetch("chest-radiograph")
    assert fallen_back == asked_for and built == fallen_back.files["image"].stat().st_mtime_ns  # from the cache

    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    assert not fetch("chest-radiograph").stand_in  # the real one, as soon as it can be had


def test_a_full_disk_is_named_and_gets_its_room_back(index):
    part = cache_folder() / "downloads" / f"{WHEEL}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")  # the kernel's own ENOSPC
    with pytest.raises(DataError, match=r"No room in .* needs about 1 MB.*RADKIT_CACHE"):
        fetch("chest-radiograph")
    assert cached() == []


def test_a_disk_that_fills_while_unpacking_is_left_clean(index):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))"  # SPINE is larger
    process = in_another_process(f"{limit}\nfetch('spine', progress=False)")
    assert "DataError: No room in" in process.communicate()[1]
    assert not [name for name in cached() if "spine" in name or ".part" in name]


def test_a_cache_that_cannot_be_written_is_named(index, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RADKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=r"Not a directory.*RADKIT_CACHE"):
        fetch("spine")


def test_verify_finds_a_changed_and_a_missing_file_and_fetch_mends_them(index):
    assert verify("series") == ["series has not been fetched"]
    folder = fetch("series", stand_in=False).files["series"]
    assert verify("series") == []
    (folder / "1.dcm").write_bytes(b"ONE")
    (folder / "2.dcm").unlink()
    changed, missing = verify("series")
    assert "series/1.dcm was changed" in changed and sha256(b"ONE")[:12] in changed
    assert "series/2.dcm is missing" in missing
    fetch("series", stand_in=False)
    assert verify("series") == []


def test_the_real_radiograph_comes_from_the_real_index(tmp_path, monkeypatch):
    monkeypatch.setenv("RADKIT_CACHE", str(tmp_path))
    film = fetch("chest-radiograph", stand_in=False, progress=False).files["image"]
    assert film.stat().st_size == 7_200_056 and film.read_bytes()[128:132] == b"DICM"


@pytest.mark.slow
def test_labels_lie_on_the_grid_of_their_ct():
    """The aorta's were drawn on a cut-out."""
    image, labels = read("chest-ct-aorta"), read_labels("chest-ct-aorta")
    assert labels.geometry_equal(image, tol=1e-3)
    inside = image.array[labels.array == 1]  # the true lumen is full of contrast
    assert 150 < inside.mean() < 600
