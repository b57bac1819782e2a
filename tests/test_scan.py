"""Any folder becomes patients, studies and series, and what is wrong with each is said in words with numbers."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.fileset import FileSet
from pydicom.uid import JPEGLSLossless

import radkit as rk
from radkit.cli import main
from radkit.dicom import scanning
from radkit.errors import DicomError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RADKIT_CACHE", str(folder))
    return folder


@pytest.fixture()
def slices(small_ct):
    return [dcmread(path) for path in small_ct.files]


def save(slices, folder):
    folder.mkdir(exist_ok=True)
    for number, dataset in enumerate(slices):
        dataset.save_as(folder / f"{number:03}")
    return rk.dicom.scan(folder, progress=False)


def test_a_series_without_problems_is_one_line_and_goes_straight_into_read_series(small_ct):
    scan = rk.dicom.scan(small_ct.folder)
    (series,) = scan.series
    assert (series.patient_id, series.modality, series.instances, series.problems) == ("RADKIT-TEST", "CT", 24, [])
    assert series.size == sum(path.stat().st_size for path in small_ct.files)
    assert series.transfer_syntaxes == ["Explicit VR Little Endian"]
    assert scan.patients == ["RADKIT-TEST"] and len(scan.studies) == 1
    assert np.array_equal(rk.dicom.read_series(series.files).array, small_ct.volume.array)
    assert len(str(scan).splitlines()) == 3


def test_whatever_else_lies_in_a_folder_is_told_apart(small_ct, tmp_path):
    shutil.copytree(small_ct.folder, tmp_path / "a" / "b")
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "no extension")
    shutil.copy(get_testdata_file("reportsi.dcm"), tmp_path / "report.txt")
    (tmp_path / "notes.dcm").write_text("not DICOM")
    (tmp_path / "empty").touch()
    (tmp_path / "header only").write_bytes(small_ct.files[0].read_bytes()[:700])
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    scan = rk.dicom.scan(tmp_path)
    assert {(series.modality, series.instances) for series in scan.series} == {("CT", 24), ("MR", 1), ("SR", 1)}
    assert [path.name for path in scan.other_files] == ["empty", "notes.dcm"]
    assert {path.name: reason.split()[0] for path, reason in scan.unreadable.items()} == {
        "header only": "cannot", "nowhere": "No",
    }  # fmt: skip
    assert [series.problems for series in scan.series] == [[], [], []]
    assert "(unreadable)" in str(scan) and sorted(tmp_path.rglob("*")) == before


def test_the_files_of_a_dicomdir_count_and_it_does_not(small_ct, tmp_path):
    files = FileSet()
    for path in small_ct.files[:3]:
        files.add(path)
    files.write(tmp_path)
    scan = rk.dicom.scan(tmp_path)
    assert [series.instances for series in scan.series] == [3]
    assert [path.name for path in scan.other_files] == ["DICOMDIR"]


def drop(slices):
    del slices[10]


def drop_three(slices):
    del slices[10:13]


def double(slices):
    slices[4].ImagePositionPatient = slices[5].ImagePositionPatient


def crowd(slices):
    slices[4].ImagePositionPatient = [-80, -45, slices[4].ImagePositionPatient[2] + 1]


def turn(slices):
    slices[4].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def tilt(slices):
    for number, dataset in enumerate(slices):
        dataset.ImagePositionPatient = [-80, -45 + 0.3 * number, dataset.ImagePositionPatient[2]]


def stretch(slices):
    slices[4].PixelSpacing = [0.7, 0.8]


def shrink(slices):
    slices[4].Rows, slices[4].PixelData = 64, slices[4].PixelData[: 64 * 128 * 2]


def unplace(slices):
    slices[4].ImagePositionPatient = None


GEOMETRY = {
    drop: "missing slice between -120 and -115 mm",
    drop_three: "3 missing slices between -125 and -115 mm",
    double: "duplicated positions: 2 at -105 mm",
    crowd: "3.5 mm between -105 and -101.5 mm, where 2.5 mm is usual",
    turn: "2 orientations: axial (23), sagittal (1)",
    tilt: "gantry tilt of 6.8 degrees: slices up to 6.9 mm off their normal",
    stretch: "2 pixel spacings: 0.7 × 0.7 mm (23), 0.7 × 0.8 mm (1)",
    shrink: "2 sizes: 128 × 128 (23), 64 × 128 (1)",
    unplace: "no position and orientation in 1 of 24 images",
}


@pytest.mark.parametrize("damage", GEOMETRY, ids=lambda damage: damage.__name__)
def test_what_read_series_would_refuse_is_said_before(slices, tmp_path, damage):
    damage(slices)
    (series,) = save(slices, tmp_path / "series").series
    assert GEOMETRY[damage] in series.problems
    if damage is not unplace:  # those are left aside, which leaves a gap
        with pytest.raises(DicomError):
            rk.dicom.read_series(series.files)


def rename(slices):
    slices[4].SOPInstanceUID = ""


def copy(slices):
    slices[4].SOPInstanceUID = slices[5].SOPInstanceUID


def scout(slices):
    slices[4].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def strip(slices):
    for dataset in slices[:2]:
        del dataset.PixelData


def compress(slices):
    slices[4].file_meta.TransferSyntaxUID = JPEGLSLossless
    slices[4].PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    slices[4]["PixelData"].is_undefined_length = True


def phases(slices):
    for early, late in zip(slices[::2], slices[1::2], strict=True):
        late.ImagePositionPatient = early.ImagePositionPatient


OTHERS = {
    rename: "no SOPInstanceUID in 1 of 24 files",
    copy: "duplicate SOPInstanceUID: 1 of 24 files repeat that of another",
    scout: "localizer mixed in: 1 of 24 images",
    strip: "no pixel data (2 of 24 files)",
    compress: "2 transfer syntaxes: Explicit VR Little Endian (23), JPEG-LS Lossless Image Compression (1)",
    phases: "2 images at each of 12 positions: phases, echoes, b-values, or copies?",
}


@pytest.mark.parametrize("damage", OTHERS, ids=lambda damage: damage.__name__)
def test_other_problems_are_said_too(slices, tmp_path, damage):
    damage(slices)
    (series,) = save(slices, tmp_path / "series").series
    assert OTHERS[damage] in series.problems


def test_a_truncated_file_is_found_in_every_transfer_syntax(slices, tmp_path):
    compress(slices)
    slices[3].save_as(tmp_path / "plain")
    slices[4].save_as(tmp_path / "compressed")
    shutil.copy(get_testdata_file("MR_small_bigendian.dcm"), tmp_path / "big")
    for path in list(tmp_path.iterdir()):
        assert not any("file" in problem for problem in rk.dicom.scan(path).series[0].problems)
        path.write_bytes(path.read_bytes()[:-12])
        assert rk.dicom.scan(path).unreadable == {}
        (problem,) = rk.dicom.scan(path).series[0].problems
        assert problem.startswith(("truncated file: 12 bytes of pixel data", "damaged file: "))


def test_series_without_uids_are_kept_apart_by_folder(slices, tmp_path):
    for dataset in slices:
        dataset.SeriesInstanceUID = ""
    save(slices[:12], tmp_path / "a")
    save(slices[12:], tmp_path / "b")
    assert [series.instances for series in rk.dicom.scan(tmp_path).series] == [12, 12]


def test_walker_and_pydicom_give_the_same_header(monkeypatch):
    names = [str(path) for path in Path(get_testdata_file("CT_small.dcm")).parents[1].rglob("*.dcm")]
    assert len(names) > 100
    fast = {name: scanning._read(name, Path(name).stat().st_size) for name in names}
    monkeypatch.setattr(scanning, "walk_file", lambda *_: None)
    slow = {name: scanning._read(name, Path(name).stat().st_size) for name in names}
    for name in names:
        theirs = {key: value.replace("=", "") for key, value in slow[name].items() if key != "Fault"}
        assert {key: value.replace("=", "") for key, value in fast[name].items() if key != "Fault"} == theirs, name
        assert bool(fast[name].get("Fault")) == bool(slow[name].get("Fault")), name


def test_a_second_scan_reads_only_what_has_changed(slices, tmp_path, monkeypatch):
    first = save(slices[:5], tmp_path / "series")
    read, real = [], scanning._read
    monkeypatch.setattr(scanning, "_read", lambda name, size: read.append(Path(name).name) or real(name, size))
    assert str(rk.dicom.scan(tmp_path / "series")) == str(first) and read == []
    slices[2].PatientID = "CHANGED"
    slices[2].save_as(tmp_path / "series" / "002")
    (tmp_path / "series" / "004").unlink()
    assert set(rk.dicom.scan(tmp_path / "series").patients) == {"CHANGED", "RADKIT-TEST"} and read == ["002"]


def test_what_is_kept_is_for_its_owner_alone_and_no_harm_when_broken(small_ct, cache, monkeypatch):
    first = rk.dicom.scan(small_ct.folder)
    (kept,) = (cache / "scans").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    for broken in (b"", b"{}", kept.read_bytes()[:-5], kept.read_bytes().replace(b"RADKIT", b"OTHERS")):
        kept.write_bytes(broken)
        assert str(rk.dicom.scan(small_ct.folder)) == str(first)
    monkeypatch.setenv("RADKIT_CACHE", str(kept / "no folder"))
    assert str(rk.dicom.scan(small_ct.folder)) == str(first)


@pytest.mark.parametrize("columns", [70, 100, 160])
def test_the_table_fits_the_terminal_and_escapes_what_headers_say(slices, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    slices[0].SeriesDescription = '<script>alert("x")</script>\x1b[31m'
    del slices[2]
    scan = save(slices, tmp_path / "series")
    assert max(map(len, str(scan).splitlines())) <= columns and "\x1b" not in str(scan) + scan._repr_html_()
    assert "missing slice between" in str(scan) and "<script>alert" not in scan._repr_html_()


def test_the_command_says_whether_there_was_anything(small_ct, slices, tmp_path):
    def radkit(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    (tmp_path / "nothing").mkdir()
    assert radkit("scan", tmp_path / "nothing").exit_code == 1
    missing = radkit("scan", tmp_path / "gone")
    assert missing.exit_code == 1 and "found nothing at" in missing.output and "Traceback" not in missing.output
    drop(slices)
    save(slices, tmp_path / "series")
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "fine")
    answer = radkit("scan", "--problems", tmp_path)
    assert answer.exit_code == 0 and "missing slice" in answer.output and " MR " not in answer.output
    assert " MR " in radkit("scan", tmp_path).output
    shown = radkit("show", small_ct.files[0], "--search", "patient")
    assert shown.exit_code == 0 and "RADKIT-TEST" in shown.output and "Rows" not in shown.output
    assert "InstanceNumber" in radkit("show", *small_ct.files[:2]).output
