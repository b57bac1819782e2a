"""No flipped segmentation: a mask of a letter, stored in an archive and fetched, sits on the same letter in its images.

The letter F stands in the images bright on dark, in the last five of twelve slices without its lower bar, so that no
flip and no turn of it looks like another. The mask is drawn on what `read_series` gives. Whether it sits is judged by
radkit, by dcmqi and SimpleITK, which share no code with it, and by the pixels on the screen.
"""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import pytest
import SimpleITK as sitk
from browser import open_notebook
from highdicom import Volume
from pydicom import dcmread
from scipy import ndimage
from scipy.spatial.transform import Rotation
from test_browser import PLANES, code
from test_pacs import opened

import radkit as rk
from radkit.data.ct import write_ct_series

pytestmark = pytest.mark.slow  # together too long for `make check`

TILTED = Rotation.from_euler("xyz", [20, -12, 8], degrees=True).as_matrix()
# Where slices, rows and columns count to, in LPS.
AXES = {
    "axial": [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
    "axial-reversed": [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
    "prone": [[0, 0, 1], [0, -1, 0], [-1, 0, 0]],
    "sagittal": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "sagittal-reversed": [[-1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "coronal": [[0, 1, 0], [0, 0, -1], [1, 0, 0]],
    "oblique": np.eye(3)[::-1] @ TILTED.T,
    "oblique-reversed": np.diag([-1, 1, 1]) @ np.eye(3)[::-1] @ TILTED.T,
}
WRONG = {
    "upside-down": lambda mask: mask[::-1],
    "mirrored": lambda mask: mask[:, :, ::-1],
    "front-to-back": lambda mask: mask[:, ::-1],
    "two-slices-off": lambda mask: np.roll(mask, 2, axis=0),
    "two-pixels-off": lambda mask: np.roll(mask, 2, axis=2),
}
ORANGE = (230, 159, 0)  # the outline of the first structure
SHOWN = ("axial-reversed", "sagittal", "coronal", "oblique", "upside-down", "two-slices-off")


def letter() -> np.ndarray:
    """An F, True where it is bright."""
    array = np.zeros((20, 40, 44), bool)
    array[3:15, 6:34, 9:14] = True
    array[3:15, 6:11, 9:30] = True
    array[3:10, 18:23, 9:24] = True
    return array


class Case(NamedTuple):
    images: list[Path]
    volume: Volume
    seg: Path


def stored(archive, folder: Path, name: str, change=lambda mask: mask) -> Case:
    """A series that bears the letter and the SEG of it, after a trip through the archive."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(AXES[name]).T * (2.5, 1.1, 0.9)
    affine[:3, 3] = (-30, 20, -110)
    array = np.where(letter(), 700, -900).astype(np.int16)
    images = write_ct_series(
        Volume(array, affine, coordinate_system="PATIENT"), folder / "made", header={"PatientID": folder.name}
    )
    volume = rk.dicom.read_series(images)
    drawn = volume.with_array(change(volume.array > 0).astype(np.uint8))
    seg = rk.results.write_segmentation(drawn, images)
    archive.send([images, seg], progress=False)
    fetched = archive.fetch(study=seg.StudyInstanceUID, folder=folder / "fetched", progress=False)
    (seg,) = [path for path in fetched if dcmread(path, specific_tags=["Modality"]).Modality == "SEG"]
    images = [path for path in fetched if path != seg]
    return Case(images, rk.dicom.read_series(images), seg)


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("letters")
    with opened("orthanc") as archive:
        cases = {name: stored(archive, folder / name, name) for name in AXES}
        return cases | {name: stored(archive, folder / name, "oblique", change) for name, change in WRONG.items()}


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Dice."""
    return 2 * np.sum(first & second) / (np.sum(first) + np.sum(second))


def seen_by_radkit(case: Case) -> float:
    mask = rk.results.read_segmentation(dcmread(case.seg), like=case.volume)
    return overlap(mask.array > 0, case.volume.array > 0)


def seen_by_itk(case: Case, folder: Path) -> float:
    """How well dcmqi's mask and SimpleITK's images agree in space."""
    program = Path(sysconfig.get_path("scripts"), "segimage2itkimage")
    command = [program, "--inputDICOM", case.seg, "--outputDirectory", folder, "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(case.images[0].parent), uid_of(case)))
    images = reader.Execute()
    mask = sitk.Resample(sitk.ReadImage(folder / "1.nrrd"), images, sitk.Transform(), sitk.sitkNearestNeighbor)
    return overlap(sitk.GetArrayFromImage(mask) > 0, sitk.GetArrayFromImage(images) > 0)


def uid_of(case: Case) -> str:
    return str(dcmread(case.images[0], specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)


@pytest.mark.parametrize("name", AXES)
def test_the_mask_sits_on_its_letter(cases, name, tmp_path):
    case = cases[name]
    assert seen_by_radkit(case) == seen_by_itk(case, tmp_path) == 1
    assert rk.results.check(dcmread(case.seg), case.images) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_mask_that_was_flipped_or_shifted_does_not(cases, name, tmp_path):
    case = cases[name]
    assert seen_by_radkit(case) < 0.9 and seen_by_itk(case, tmp_path) < 0.9
    assert rk.results.check(dcmread(case.seg), case.images) == []  # its headers agree: only eyes can tell


def astray(painted: np.ndarray) -> float:
    """How much of a plane on the screen is colour off the letter or letter without colour, as a share of what fits.

    The outline and what is narrower than it is left aside: the letter's blurred edge, the crosshair, the writing.
    """
    red, green, blue = np.moveaxis(painted, -1, 0)
    coloured, bright = red - blue > 40, green > 150
    outline = np.abs(painted - ORANGE).max(axis=2) < 12
    wrong = [
        ndimage.binary_opening(one, np.ones((9, 9))) for one in (coloured & ~bright & ~outline, bright & ~coloured)
    ]
    return float(np.sum(wrong) / np.sum(coloured & bright))


@pytest.mark.browser
@pytest.mark.slow
def test_on_the_screen_the_colour_lies_on_the_letter(cases, tmp_path):
    cells = ["import radkit as rk, pydicom"]
    for name in SHOWN:
        case = cases[name]
        cells.append(
            f"series = rk.dicom.read_series({[str(path) for path in case.images]})\n"
            f"mask = rk.results.read_segmentation(pydicom.dcmread({str(case.seg)!r}), like=series)\n"
            f"rk.view.show(series, mask, window=(-100, 1600), title={name!r})"
        )
    nbformat.write(code(*cells), tmp_path / "letters.ipynb")
    with open_notebook(tmp_path / "letters.ipynb") as session:
        session.run_all()
        session.wait()
        worst = {}
        for number, name in enumerate(SHOWN):
            view = session.ready(number)
            session.screenshot(name, view)
            worst[name] = max(astray(session.pixels(view, plane)) for plane in PLANES)
    assert all((share < 0.02) if name in AXES else (share > 0.1) for name, share in worst.items()), worst
