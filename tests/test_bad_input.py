"""Thousands of damaged and malicious files end soon, with little memory, in a reason or a right answer; folders too."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mutant_bombs import BOMBS
from mutant_parts import parts_of, put_together, taken_apart
from mutant_seeds import SEEDS, seed

import radkit as rk
from radkit._assets import asset

if sys.platform != "linux":
    pytest.skip("processes are watched through /proc", allow_module_level=True)

import gauntlet
from mutants import MUTATIONS, mutant

FILES = 5200


@pytest.mark.slow
def test_thousands_of_damaged_files_are_refused_by_name_or_answered_rightly(tmp_path):
    asset("text-detector", progress=False)
    outcome = gauntlet.campaign(tmp_path, 1, range(FILES))
    # A machine short of memory bills its paging as processor time: what took too long is taken once more, alone.
    late = [why for why in outcome.failures if ": took " in why or f"ended with {-signal.SIGXCPU}:" in why]
    for number in {int(why[1:].split()[0]) for why in late}:
        alone = gauntlet.campaign(tmp_path / f"again-{number}", 1, range(number, number + 1), jobs=1)
        assert not alone.failures, str(alone)
    assert set(outcome.failures) == set(late), str(outcome)
    for operation in ("scan", "inspect", "read_series", "read_image", "still", "deidentify"):
        answered, refused = (outcome.counts[operation, end] for end in ("answered", "refused"))
        assert FILES - len(late) <= answered + refused <= FILES
        assert answered > FILES / 10  # they are not all broken, nor all whole
        assert refused > FILES / 10 or operation in ("scan", "deidentify")  # whose answer is a list of the refused


MISCONDUCT = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import gauntlet, numpy
from radkit.errors import DicomError
folder, path = pathlib.Path(sys.argv[2]), pathlib.Path("mutant-1.dcm")
for name in ("out", "cache"):
    (folder / name).mkdir()
gauntlet.SECONDS, gauntlet.MEMORY = 1, 100 << 20
watch = gauntlet.Watch(folder)
with watch.operation("outside", "", path):
    (folder / "stray").write_text("")
with watch.operation("noise", "", path):
    print("warning")
with watch.operation("memory", "", path):
    numpy.ones(150 << 20, numpy.uint8)
for name, error in (("error", ValueError("mutant-1.dcm")), ("nameless", DicomError("it cannot be read at all")),
                    ("gossip", DicomError("mutant-1.dcm: of Citizen^Jane, who has it"))):
    with watch.operation(name, "", path):
        raise error
with watch.operation("nothing", "", path):
    (folder / "out" / "x").write_text("")
with watch.operation("endless", "", path):
    sum(range(10**12))
"""


@pytest.mark.slow
def test_the_watch_sees_what_it_is_there_to_see(tmp_path):
    command = [sys.executable, "-c", MISCONDUCT, str(Path(__file__).parent), str(tmp_path)]
    died = subprocess.run(command, capture_output=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert died.returncode == -signal.SIGXCPU, died.stderr
    said = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    wrong = {one["name"]: " ".join(one["wrong"]) for one in said if "wrong" in one}
    found = {"outside": "reached outside", "noise": "was heard: warning", "memory": " MiB", "error": "ValueError",
             "nameless": "does not name the file", "gossip": "says who"}  # fmt: skip
    assert {name: text for name, text in wrong.items() if found.get(name, "no words") not in text} == {"nothing": ""}
    assert said[-1] == {"name": "endless", "op": ""} and "<module>" in (tmp_path / "trace").read_text()


def test_seeds_are_of_many_kinds_and_come_apart_without_a_loss():
    assert len(SEEDS) >= 70 and len(MUTATIONS) >= 28 and len(BOMBS) >= 100
    for name in SEEDS:
        made = parts_of(name)
        assert len(made.elements) > 5 and max(e.end for e in made.elements) == len(made.data)
        assert taken_apart(put_together(made, made.data)) == made
        assert made.deflated or made.data == seed(name)


def test_a_mutant_is_made_again_from_its_number():
    numbers = range(len(BOMBS), len(BOMBS) + len(MUTATIONS))
    first, second, other = ([mutant(start, number) for number in numbers] for start in (1, 1, 2))
    assert first == second
    assert sum(one != two for one, two in zip(first, other, strict=True)) > len(MUTATIONS) / 2
    assert sum(data == seed("CT_small") for _, data in first) == 1  # but for one they are changed


@pytest.fixture
def folder(small_ct, tmp_path, monkeypatch) -> Path:
    """One good file among what else a folder can hold."""
    monkeypatch.setenv("RADKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "in"
    deep = folder.joinpath(*["deep"] * 100)
    deep.mkdir(parents=True)
    shutil.copy(small_ct.files[0], folder / "good")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "nowhere").symlink_to(tmp_path / "nowhere")
    (folder / "zeros").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    for name in ("\x1b[2Jname\nof lines", "<script>", os.fsdecode(b"no \xff utf-8"), "x" * 250):
        (deep / name).write_bytes(b"no DICOM")
    return folder


def test_a_folder_of_loops_pipes_and_hostile_names_is_scanned_read_and_shown(folder):
    found = rk.dicom.scan(folder, progress=False)
    assert [series.files for series in found.series] == [[folder / "good"]]
    assert len(found.other_files) == 4 and {path.name for path in found.unreadable} == {"itself", "nowhere"}
    assert rk.dicom.read_series(folder, progress=False).array.shape == (1, 128, 128)
    assert rk.view.still(folder).text


def test_of_a_folder_of_loops_pipes_and_hostile_names_only_the_images_are_written(folder, tmp_path):
    before = sorted(path.lstat().st_mtime_ns for path in folder.iterdir())
    report = rk.dicom.deidentify(folder, tmp_path / "out", burned_in="keep", progress=False)
    assert report.written == 1 and set(report.left_out.values()) == {"it is no DICOM file"}
    assert f"{report}{report._repr_html_()}".isascii()
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 1
    assert sorted(path.lstat().st_mtime_ns for path in folder.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
