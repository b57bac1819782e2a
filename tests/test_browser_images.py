"""Single images in JupyterLab: a radiograph, an ultrasound cine in colour, a series by its path with its patient."""

import nbformat
import numpy as np
import pytest
from browser import open_notebook
from pydicom import dcmread
from pydicom.uid import generate_uid
from test_browser import code

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FRAMES = 8


def radiograph(template, path):
    """A MONOCHROME1 radiograph of 300 × 240 pixels, 0.2 mm at the detector: low, and so white, where row < column."""
    image = dcmread(template)
    rows, columns = np.mgrid[:300, :240]
    pixels = np.where(rows < columns, 100, 3000).astype("<u2")
    pixels[:, :30] = 0
    for keyword in (
        "PixelSpacing",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "RescaleType",
        "RescaleIntercept",
    ):
        del image[keyword]
    del image.RescaleSlope, image.WindowCenterWidthExplanation
    image.Modality, image.PhotometricInterpretation, image.PixelRepresentation = "DX", "MONOCHROME1", 0
    image.ImagerPixelSpacing, image.PatientOrientation = [0.2, 0.2], ["L", "F"]
    image.WindowCenter, image.WindowWidth = 1500, 4000
    image.add_new("PixelPaddingValue", "US", 0)
    return save(image, pixels, path)


def cine(template, path):
    """An ultrasound of eight frames in colour without a calibration: frame n is red in its n-th row of blocks."""
    image = dcmread(template)
    pixels = np.zeros((FRAMES, 160, 200, 3), np.uint8)
    pixels[..., 2] = 90
    for frame in range(FRAMES):
        pixels[frame, 20 * frame : 20 * frame + 20] = (255, 0, 0)
    for keyword in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "WindowCenter", "WindowWidth"):
        del image[keyword]
    del image.RescaleSlope, image.RescaleIntercept, image.RescaleType, image.WindowCenterWidthExplanation
    image.Modality, image.PhotometricInterpretation, image.SamplesPerPixel = "US", "RGB", 3
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.PlanarConfiguration, image.NumberOfFrames, image.FrameTime = 0, FRAMES, 40
    return save(image, pixels, path)


def save(image, pixels, path):
    image.Rows, image.Columns = pixels.shape[1:3] if pixels.ndim == 4 else pixels.shape
    image.PixelData = pixels.tobytes()
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.save_as(path)
    return str(path)


@pytest.fixture(scope="module")
def session(small_ct, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [radiograph(small_ct.files[0], folder / "dx.dcm"), cine(small_ct.files[0], folder / "us.dcm")]
    cells = [f"rk.view.show({path!r})" for path in [*paths, str(small_ct.folder)]]
    cells.append(f"rk.view.show(rk.dicom.read_series({str(small_ct.folder)!r}))")
    nbformat.write(code("import radkit as rk", *cells), folder / "images.ipynb")
    with open_notebook(folder / "images.ipynb") as session:
        session.run_all()
        session.wait()
        yield session


def test_a_radiograph_is_shown_as_its_object_says(session):
    view = session.ready(0)
    seen = session.pixels(view, "image").mean(axis=2)
    height, width = seen.shape
    assert height / width == pytest.approx(300 / 240, rel=0.02)
    assert seen[height // 4, width * 3 // 4] > 200 > 100 > seen[height * 3 // 4, width // 3], (
        "MONOCHROME1: low is white"
    )
    assert seen[height // 3, width // 20] == 0, "padding is black"
    assert view.locator(".radkit-bar button").first.inner_text().startswith("1 ")
    session.screenshot("radiograph", view)


def test_a_distance_on_a_radiograph_says_that_it_is_at_the_detector(session):
    view = session.ready(0)
    for key in ("d", "Enter", *["Shift+ArrowRight"] * 5, "Enter", "Escape"):
        view.locator("canvas").press(key)  # JupyterLab may take the focus while it tidies up after its cells
    assert session.until(lambda: "10.0 mm at the detector" in view.locator(".radkit-distances").inner_text())
    session.screenshot("distance", view)


def test_a_contour_on_a_radiograph_says_so_too(session):
    view = session.ready(0)
    view.locator("canvas").press("c")
    box = view.locator("canvas").bounding_box()
    corners = [(0.25, 0.4), (0.75, 0.4), (0.75, 0.6), (0.25, 0.6)]  # 120 columns and 60 rows of 0.2 mm
    session.page.mouse.move(*(box["x"] + box["width"] * corners[0][0], box["y"] + box["height"] * corners[0][1]))
    session.page.mouse.down()
    for x, y in corners[1:]:
        session.page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    session.page.mouse.up()
    view.locator("canvas").press("Escape")
    row = view.locator(".radkit-contours")
    assert session.until(lambda: "mm at the detector" in row.inner_text())
    assert float(row.inner_text().split()[0]) == pytest.approx(24 * 12, rel=0.02)
    session.screenshot("contour", view)


def test_a_cine_scrolls_plays_and_stops(session):
    view = session.ready(1)

    def red_block() -> int:
        seen = session.pixels(view, "image")
        return int(((seen[:, :, 0] - seen[:, :, 2]).mean(axis=1).argmax() + 0.5) * FRAMES / len(seen))

    canvas = view.locator("canvas")
    canvas.focus()
    assert red_block() == 0
    for _ in range(3):
        session.page.keyboard.press("ArrowUp")
    assert session.until(lambda: red_block() == 3)
    session.page.keyboard.press("p")
    frames = set()
    assert session.until(lambda: frames.add(canvas.get_attribute("aria-valuenow")) or len(frames) > 5)
    session.page.keyboard.press("p")

    def stands() -> bool:
        still = canvas.get_attribute("aria-valuenow")
        session.page.wait_for_timeout(400)
        return canvas.get_attribute("aria-valuenow") == still

    assert session.until(stands)  # the frames that are on their way are still drawn
    assert view.locator(".radkit-window").inner_text() == ""
    session.screenshot("cine", view)


def test_what_is_not_calibrated_is_measured_in_pixels(session):
    view = session.ready(1)
    view.locator("canvas").focus()
    for key in ("d", "Enter", *["Shift+ArrowLeft"] * 3, "Enter", "Escape"):
        session.page.keyboard.press(key)
    assert session.until(lambda: "30.0 pixels" in view.locator(".radkit-distances").inner_text())


def test_the_patient_is_named_hidden_and_stays_hidden(session):
    view = session.ready(2)
    banner = view.locator(".radkit-banner")
    assert banner.inner_text() == "RADKIT TEST · ID RADKIT-TEST · 2024-01-15 · Chest"
    session.screenshot("banner", view)
    view.locator("canvas").first.focus()
    session.page.keyboard.press("h")
    assert session.until(lambda: not banner.is_visible())
    view.evaluate("view => view.dataset.old = ''")
    session.run(session.page.locator(".jp-CodeCell").nth(3))  # the same view, made anew
    assert session.until(lambda: session.ready(2).get_attribute("data-old") is None)
    assert session.until(lambda: session.ready(2).locator(".radkit-banner").text_content() != "")
    assert not session.ready(2).locator(".radkit-banner").is_visible()
    session.ready(2).locator("button", has_text="patient").click()
    assert session.until(lambda: session.ready(2).locator(".radkit-banner").is_visible())


def test_a_volume_without_a_header_has_no_patient(session):
    view = session.ready(3)
    assert view.locator("button", has_text="patient").count() == 0
    assert view.locator(".radkit-banner").text_content() == ""


def test_nothing_failed_and_no_request_left_this_machine(session):
    session.wait()
    report = session.look()
    assert report.errors == [] and report.outside == [] and len(report.views) == 4
