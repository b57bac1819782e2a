"""Volumes in space in JupyterLab, in Debian's Chromium without a graphics card: the right way round, asking no host."""

import json
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from browser import open_notebook

import radkit as rk
from radkit.errors import ViewError

# A sagittal acquisition from right to left, its rows from the feet up: bright where left, front and head meet, over the
# middle, so that every plane through it cuts it; labelled on the right where back and feet meet.
PHANTOM = """import json, numpy as np, radkit as rk, highdicom
array, mask = np.full((32, 64, 64), -900, np.int16), np.zeros((32, 64, 64), np.uint8)
array[14:, 28:, :36] = 900
mask[:12, :40, 28:] = 1
affine = np.array([[3, 0, 0, -46.5], [0, 0, 1.5, -47], [0, 1.5, 0, -47], [0, 0, 0, 1.0]])
phantom = highdicom.Volume(array, affine, coordinate_system="PATIENT")
rk.view.render(phantom, mask, names=["cube"], mode="planes", title="STAND-IN (generated): a corner")"""
BRAIN = """brain = rk.data.read(rk.data.fetch("brain-mr-dicom", stand_in=True))
print(json.dumps(brain.to_patient_orientation("HPL").affine.tolist()))
rk.view.render(brain, modality="MR", title="STAND-IN (generated): oblique slices")"""
CHEST = """chest = rk.data.read("chest-ct")[:, ::2, ::2]
rk.view.render(chest, title="Chest CT at half size")"""
CORNERS = """frame => {
    const seen = frame.contentWindow.viewer.getViewProxy().getRepresentations()[0].getInputDataSet();
    return [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 19]].map(index => [...seen.indexToWorld(index)]); }"""


def notebook(path, *cells):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=kernel), path
    )
    return path


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    path = notebook(tmp_path_factory.mktemp("notebook") / "render.ipynb", PHANTOM, BRAIN, CHEST)
    with open_notebook(path) as session:
        session.page.set_default_timeout(180_000)  # a processor that others use, too, draws for many seconds
        session.run_all()
        session.wait()  # the cells end though no browser has answered
        yield session


def ready(session, number):
    view = session.page.locator(".radkit-rendering").nth(number)
    view.scroll_into_view_if_needed()
    assert session.until(lambda: view.get_attribute("data-state"), 600), view.locator(".radkit-status").inner_text()
    assert view.get_attribute("data-state") == "ready", view.locator(".radkit-status").inner_text()
    return view


def quarters(there):
    """Return how much of a mask lies in each quarter about the middle of the picture: rows of (left, right)."""
    height, width = there.shape
    halves = [slice(0, n // 2) for n in (height, width)], [slice(n // 2, n) for n in (height, width)]
    return np.array([[there[halves[i][0], halves[j][1]].sum() for j in (0, 1)] for i in (0, 1)])


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize(
    ("plane", "bright", "labelled"),
    [("axial", (0, 1), (1, 0)), ("coronal", (0, 1), (1, 0)), ("sagittal", (0, 0), None)],
)
def test_a_plane_stands_upright_and_unmirrored(session, plane, bright, labelled):
    view = ready(session, 0)
    view.get_by_role("button", name=plane, exact=True).click()
    space = view.locator(".radkit-space")
    letters = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}[plane]
    assert "".join(space.locator(".radkit-letter").all_inner_texts()) == letters

    def seen():
        """Return what is bright and what is labelled."""
        picture = session.shot(space)[30:-100, 100:-100]
        red, green, blue = np.moveaxis(picture, 2, 0)
        orange = (abs(green - 0.69 * red) < 25) & (blue < 0.2 * red) & (red > 50) & (red < 200)  # less than a frame's
        return picture.min(axis=2) > 230, orange

    def lies(counts, expected) -> bool:
        if not expected:
            return counts.sum() < 1000
        return np.unravel_index(counts.argmax(), (2, 2)) == expected and counts.max() > 0.6 * counts.sum()

    def as_expected() -> bool:  # at last: at first the plane before is still there
        there = seen()
        counts[:] = map(quarters, there)
        return there[0].sum() > 2000 and all(map(lies, counts, (bright, labelled)))

    counts = []
    assert session.until(as_expected, 180), counts
    session.screenshot(plane, view)


@pytest.mark.browser
@pytest.mark.slow
def test_oblique_slices_lie_where_their_affine_says(session):
    view = ready(session, 1)
    affine = np.array(json.loads(session.page.locator(".jp-OutputArea-output pre").first.inner_text()))
    for index, found in zip(
        [(0, 0, 0), (0, 0, 255), (0, 255, 0), (19, 0, 0)], view.locator("iframe").evaluate(CORNERS), strict=True
    ):
        assert np.allclose(found, (affine @ (*index, 1))[:3], atol=1e-3)
    session.screenshot("oblique", view)


@pytest.mark.browser
@pytest.mark.slow
def test_a_chest_is_seen_from_the_front_the_head_up(session):
    view = ready(session, 2)
    space = view.locator(".radkit-space")
    assert session.until(lambda: (session.shot(space)[60:-100, 200:-200].min(axis=2) > 150).sum() > 5000, 600)
    session.screenshot("chest", view)
    picture = session.shot(space)[60:-60]
    bright = picture.sum(axis=2) > 450
    rows, columns = np.nonzero(bright)
    assert np.ptp(rows) > 250 and np.ptp(columns) > 200
    red = (picture[..., 0] > picture[..., 2] + 25) & ~bright  # soft tissue
    # The lungs are black between the ribs; under them, on the patient's right, the liver is not.
    middle = picture.shape[1] // 2
    assert (
        red[len(red) * 2 // 3 :, middle - 200 : middle].sum() > 1.5 * red[: len(red) // 2, middle - 200 : middle].sum()
    )
    view.get_by_role("button", name="three planes", exact=True).click()
    session.page.wait_for_timeout(3000)
    session.screenshot("three-planes", view)


@pytest.mark.browser
@pytest.mark.slow
def test_nothing_failed_and_no_request_left_this_machine(session):
    report = session.report
    assert report.errors == [] and report.outside == []


@pytest.mark.browser
@pytest.mark.slow
def test_papermill_ends_and_the_picture_stays(tmp_path):
    notebook(tmp_path / "source.ipynb", PHANTOM)
    papermill = [sys.executable, "-m", "papermill", "source.ipynb", "done.ipynb", "--no-progress-bar"]
    subprocess.run(papermill, cwd=tmp_path, check=True, timeout=600)
    (output,) = nbformat.read(tmp_path / "done.ipynb", as_version=4).cells[0].outputs
    assert output.data["image/png"] and output.metadata["image/png"]["alt"] == output.data["text/plain"]
    assert (tmp_path / "done.ipynb").stat().st_size < 500_000


def test_a_large_volume_is_shown_as_means_that_lie_where_their_voxels_lay():
    from radkit.view.images import scene_of
    from radkit.view.rendering import _for_screen

    ct = rk.data.read(rk.data.fetch("chest-ct", stand_in=True))
    array, labels, affine = _for_screen(scene_of(ct, ct.array > 300))
    assert array.shape == labels.shape == (133, 256, 256) and array.dtype == np.int16 and labels.dtype == np.uint8
    assert array[60, 100, 100] == np.rint(ct.array[60, 200:202, 200:202].mean())
    assert np.allclose((affine @ (60, 100, 100, 1))[:3], (ct.affine @ (60, 200.5, 200.5, 1))[:3])


def test_what_cannot_be_rendered_is_said_in_words(small_ct):
    with pytest.raises(ViewError, match="'volume' or 'planes', not 'slices'"):
        rk.view.render(small_ct.volume, mode="slices")
    with pytest.raises(ViewError, match="needs a volume, and this is an image"):
        rk.view.render(rk.data.fetch("chest-radiograph", stand_in=True).files["image"])


def test_without_the_viewer_the_browser_is_told_what_to_do(small_ct, tmp_path, monkeypatch):
    view, sent = rk.view.render(small_ct.volume), []
    monkeypatch.setattr(type(view), "send", lambda self, message, buffers=None: sent.append(message))
    monkeypatch.setenv("RADKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1/")
    view._answer(None, {"radkit": "parts, please", "ask": 0.5, "wanted": ["voxels", "program"]}, None)
    assert sent[0] == {"ask": 0.5, "part": "voxels"}
    assert "Name an index that this machine reaches in NPM_CONFIG_REGISTRY" in sent[1]["problem"]
