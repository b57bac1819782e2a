"""Orientation, proven by pixels: letters in a phantom stand upright and unmirrored however the patient was scanned.

The phantom fills a cube of 96 mm. Through its middle go an axial, a coronal and a sagittal plate, and each quarter of a
plate bears two letters that say where in the patient it is: "RA" stands to the right and in front. The plates are drawn
in patient space and sampled by the equation of PS3.3 C.7.6.2.1.1, without any code of radkit.
"""

import itertools
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest
from browser import open_notebook
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.uid import generate_uid
from test_browser import PLANES, code

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HALF, MIDDLE = 48, np.array([10.0, -20.0, 35.0])  # half of the cube and its middle in LPS, in mm
SCREEN = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "H", "F"), "sagittal": ("A", "P", "H", "F")}
# The scanner's own axes are LPS for a patient who lies head first and supine; any other lies turned by half a turn.
TURNED = {"HFS": (1, 1, 1), "HFP": (-1, -1, 1), "FFS": (-1, 1, -1), "FFP": (1, -1, -1)}
# Directions of row, column and slices in the scanner.
ACQUIRED = {
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
}
CASES = list(itertools.product(ACQUIRED, TURNED))


def plate(plane: str) -> np.ndarray:
    """Return a plate as a radiologist sees it, one pixel a mm."""
    left, right, top, bottom = SCREEN[plane]
    image = Image.new("L", (2 * HALF, 2 * HALF))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf")), 23)
    for (x, side), (y, end) in itertools.product(((25, left), (71, right)), ((25, top), (71, bottom))):
        ImageDraw.Draw(image).text((x, y), side + end, font=font, fill=255, anchor="mm")
    return np.asarray(image) > 127


def phantom(points: np.ndarray) -> np.ndarray:
    """Return HU at points (..., 3) in LPS mm: 1000 in a letter, -1000 elsewhere."""
    x, y, z = np.moveaxis(points - MIDDLE, -1, 0)
    right, back, down = (np.clip(np.floor(v).astype(int) + HALF, 0, 2 * HALF - 1) for v in (x, y, -z))
    letters = (np.abs(z) < 4) & plate("axial")[back, right]
    letters |= (np.abs(y) < 4) & plate("coronal")[down, right]
    letters |= (np.abs(x) < 4) & plate("sagittal")[down, back]
    return np.where(letters, 1000, -1000)


def scan(template: Path, folder: Path, acquired: str, position: str) -> Path:
    """Write the phantom as a scanner would: 48 slices of 96 × 96 pixels, 2 × 1 × 1 mm."""
    row, column, step = np.array(ACQUIRED[acquired]) * TURNED[position]
    image, series = dcmread(template), generate_uid()
    folder.mkdir()
    for number in range(48):
        image.SeriesInstanceUID, image.SOPInstanceUID = series, generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.PatientPosition, image.ImageOrientationPatient = position, [*row, *column]
        image.PixelSpacing, image.SliceThickness, image.InstanceNumber = [1, 1], 2, number + 1
        first = MIDDLE + step * (2 * number - 47) - (row + column) * (HALF - 0.5)
        image.ImagePositionPatient = first.tolist()
        image.Rows = image.Columns = 2 * HALF
        r, c = np.mgrid[: 2 * HALF, : 2 * HALF][..., None]
        hu = phantom(first + c * row * image.PixelSpacing[1] + r * column * image.PixelSpacing[0])
        image.PixelData = (hu - int(image.RescaleIntercept)).astype("<i2").tobytes()
        image.save_as(folder / f"{(number * 7) % 48:03}.dcm")
    return folder


@pytest.fixture(scope="module")
def session(small_ct, tmp_path_factory):
    folder = tmp_path_factory.mktemp("letters")
    cells = ["import radkit as rk"]
    for acquired, position in CASES:
        series = scan(small_ct.files[0], folder / f"{acquired}-{position}", acquired, position)
        show = f'rk.view.show({str(series)!r}, at={MIDDLE.tolist()}, preset="bone", title="{acquired}, {position}")'
        cells.append(show)
    nbformat.write(code(*cells), folder / "letters.ipynb")
    with open_notebook(folder / "letters.ipynb") as session:
        session.run_all()
        session.wait()
        yield session


def alike(seen: np.ndarray, expected: np.ndarray) -> float:
    """Return the correlation within the quarters, where neither crosshair nor the viewer's own letters are."""
    offset = np.abs((np.arange(len(seen)) + 0.5) / len(seen) * 2 * HALF - HALF)
    inside = (offset > 6) & (offset < 40)
    return float(np.corrcoef(seen[np.ix_(inside, inside)].ravel(), expected[np.ix_(inside, inside)].ravel())[0, 1])


@pytest.mark.parametrize("number", range(len(CASES)), ids=["-".join(case) for case in CASES])
def test_letters_stand_upright_and_unmirrored(session, number):
    view = session.ready(number)
    session.screenshot("-".join(CASES[number]), view)
    for plane in PLANES:
        seen = session.pixels(view, plane).mean(axis=2)
        side = min(seen.shape)
        seen = seen[:side, :side]
        expected = np.asarray(Image.fromarray(plate(plane)).resize((side, side)), float)
        turned = [np.rot90(flipped, k) for flipped in (seen, seen[:, ::-1]) for k in range(4)]
        right, *wrong = (alike(picture, expected) for picture in turned)
        assert right > 0.85 and max(wrong) < right - 0.25, f"{plane}: {right:.2f}, turned or mirrored {max(wrong):.2f}"
