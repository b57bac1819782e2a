"""What several tests share: a small CT with a nodule, the patient of the story, and the opinion of two validators."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from highdicom import Volume
from pydicom import Dataset

import radkit as rk
from radkit.data.ct import write_ct_series


class SmallCT(NamedTuple):
    volume: Volume  # 24 × 128 × 128 at 2.5 × 0.7 × 0.7 mm, HU
    mask: Volume  # 1 inside the nodule
    folder: Path  # the same volume as a DICOM series
    files: list[Path]


@pytest.fixture(autouse=True)
def screen(monkeypatch):
    """Whatever the terminal of whoever runs the tests, tables are as wide as where there is none."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="session")
def small_ct(tmp_path_factory) -> SmallCT:
    """A corner of a chest: lung, chest wall in front and behind, and a nodule of about 4 ml."""
    noise = np.random.default_rng(1).integers(-15, 16, (24, 128, 128))
    array = np.full((24, 128, 128), -850)
    array[:, :20], array[:, 108:] = 40, 40
    place = np.indices(array.shape).reshape(3, -1).T * (2.5, 0.7, 0.7)
    inside = np.sum(((place - (30, 48, 40)) / (9.5, 11, 9)) ** 2, axis=1).reshape(array.shape) <= 1
    array[inside] = 35
    affine = np.array([[0, 0, 0.7, -80], [0, 0.7, 0, -45], [2.5, 0, 0, -150], [0, 0, 0, 1]])
    volume = Volume((array + noise).astype(np.int16), affine, coordinate_system="PATIENT")
    folder = tmp_path_factory.mktemp("small_ct")
    files = write_ct_series(volume, folder, header={"PatientID": "RADKIT-TEST", "PatientName": "RADKIT^TEST"})
    read_back = rk.dicom.read_series(folder)
    return SmallCT(read_back, read_back.with_array(inside.astype(np.uint8)), folder, files)


@pytest.fixture(scope="session")
def story():
    """The patient of the course: real where the data can be had, else the stand-in."""
    return rk.data.story()


@pytest.fixture(scope="session")
def standin_story():
    """The generated patient."""
    return rk.data.story(stand_in=True)


@pytest.fixture(scope="session")
def errors_of(tmp_path_factory):
    """Return a function that lists what dciodvfy (Debian: dicom3tools) calls an error in a file or a dataset."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")

    def errors(item: Dataset | str | Path) -> list[str]:
        path = item
        if isinstance(item, Dataset):
            path = tmp_path_factory.mktemp("dciodvfy") / "object.dcm"
            item.save_as(path, enforce_file_format=True)
        said = subprocess.run([tool, str(path)], capture_output=True, text=True, errors="replace", timeout=600)
        lines = (said.stdout + said.stderr).splitlines()
        assert lines, "dciodvfy said nothing at all: was the file read?"
        return [line for line in lines if line.startswith("Error")]

    return errors


@pytest.fixture(scope="session")
def pixelmed_errors_of(tmp_path_factory):
    """Return a function that lists what Pixelmed's validator of 2022 calls an error in SR and KO, many at a time."""
    jar = Path("/usr/share/java/pixelmed.jar")
    if shutil.which("java") is None or not jar.exists():
        pytest.skip("Pixelmed's validator is not installed: apt-get install libpixelmed-java default-jre-headless")
    limits = [f"-Djdk.xml.xpath{name}Limit=0" for name in ("TotalOp", "ExprOp", "ExprGrp")]  # its rules are many
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms1g", "-Djava.awt.headless=true"]
    command = ["java", *quick, *limits, "-cp", str(jar), "com.pixelmed.validate.DicomSRValidator"]

    def errors(*documents: Dataset) -> list[list[str]]:
        folder = tmp_path_factory.mktemp("pixelmed")
        started = []
        for number, document in enumerate(documents):
            document.save_as(folder / f"{number}.dcm", enforce_file_format=True)
            validate = [*command, str(folder / f"{number}.dcm")]
            started.append(subprocess.Popen(validate, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        said = [process.communicate(timeout=900)[0] for process in started]
        assert all("IOD validation complete" in text for text in said), f"the validator stopped half-way: {said}"
        return [[line for line in text.splitlines() if line.startswith("Error")] for text in said]

    return errors


LONGEST = ("test_notebooks.py", "test_exercises.py", "test_map_image.py")


def pytest_collection_modifyitems(items):
    """Begin with the files that take minutes: at the end one worker would wait for the other to finish them."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_addoption(parser):
    parser.addoption("--take-screenshot", action="store_true", help="make the browser test's picture README's own")
