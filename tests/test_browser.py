"""The views in JupyterLab, in Debian's Chromium: painted, answering to mouse and keys, and asking no other host."""

import itertools
import re
import shutil
import socket
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browser import open_notebook, run_notebook_in_browser

from radkit.errors import RadkitError
from radkit.lab import start

# `--dist loadfile` keeps these in one worker: two JupyterLabs with two browsers would be slower side by side.
pytestmark = [pytest.mark.browser, pytest.mark.slow]
NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
# With a network, an archive or a cohort it takes minutes, and the views are the same: papermill runs those.
LONG = re.compile(r"rk\.(model|pacs)\.|rk\.data\.cohort")
SOURCES = {path: path.with_suffix(".py").read_text("utf-8") for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
WITH_VIEWS = [path for path, text in SOURCES.items() if "rk.view.show(" in text and not LONG.search(text)]
PLANES = ("axial", "coronal", "sagittal")

READ = """import numpy as np, time, radkit as rk
ct = rk.dicom.read_series({folder!r})
nodule = ct.with_array(np.load({mask!r}))"""
SHOW = """view = rk.view.show(ct, nodule, names=["nodule"], preset="lung", title="STAND-IN (generated): a chest")
view"""
# A sagittal acquisition from right to left, its rows from the feet up: bright where left, front and head meet.
MARKED = """array = np.full((24, 64, 64), -900, np.int16)
array[16:, 40:, :24] = 900
affine = np.array([[4, 0, 0, -48], [0, 0, 1.5, -40], [0, 1.5, 0, -60], [0, 0, 0, 1.0]])
rk.view.show(type(ct)(array, affine, coordinate_system="PATIENT"), at=(32, -25, 15))"""
BUSY = """for _ in range(6000):
    time.sleep(0.1)
    if (view.zoom > 1): break"""
TELL = "print(view.voxel, view.window, [round(d['mm'], 1) for d in view.distances])"


def code(*cells: str) -> nbformat.NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )


@pytest.fixture(scope="module")
def session(small_ct, tmp_path_factory):
    """A notebook with two viewers, whose fourth cell runs until someone zooms in the browser."""
    folder = tmp_path_factory.mktemp("notebook")
    np.save(folder / "mask.npy", small_ct.mask.array)
    read = READ.format(folder=str(small_ct.folder), mask=str(folder / "mask.npy"))
    nbformat.write(code(read, SHOW, MARKED, BUSY, TELL), folder / "viewer.ipynb")
    with open_notebook(folder / "viewer.ipynb") as session:
        session.run_all()
        session.opened = probed(session.ready(0))
        yield session


def value(view, plane: str) -> int:
    return int(view.locator(f"canvas.radkit-{plane}").get_attribute("aria-valuenow"))


def probed(view) -> str:
    """Return the voxel at the crosshair as it is written."""
    return view.locator(".radkit-probe").inner_text().partition("voxel ")[2].strip("()")


def orange(session, view, plane: str = "coronal") -> int:
    """Return how many pixels have the colour of the first structure."""
    return int(np.all(abs(session.pixels(view, plane) - (230, 159, 0)) < 12, axis=2).sum())


def test_the_views_are_painted_while_a_later_cell_runs(session):
    for number in (0, 1):
        session.ready(number)
    assert session.prompts()[2:] == ["[3]:", "[*]:", "[*]:"]
    view = session.ready(0)
    for plane in PLANES:
        painted = session.pixels(view, plane)
        assert len(np.unique(painted)) > 50
        assert orange(session, view, plane) > 100, f"no mask in the {plane} plane"
    session.screenshot("busy")


def test_zooming_reaches_python_in_a_running_cell(session):
    view = session.ready(0)
    before = session.pixels(view, "coronal")
    view.locator("canvas.radkit-axial").focus()
    session.page.keyboard.press("+")
    session.wait(240)  # by itself the cell would run for ten minutes
    assert np.mean(session.pixels(view, "coronal") != before) > 0.3
    session.page.keyboard.press("-")
    assert session.until(lambda: np.array_equal(session.pixels(view, "coronal"), before))


def test_a_reversed_sagittal_acquisition_stands_upright(session):
    view = session.ready(1)
    for plane, (row, column) in {"axial": (0, 1), "coronal": (0, 1), "sagittal": (0, 0)}.items():
        bright = session.pixels(view, plane).mean(axis=2) > 200
        height, width = bright.shape
        quarters = bright[: height // 2 * 2, : width // 2 * 2].reshape(2, height // 2, 2, width // 2).sum(axis=(1, 3))
        assert np.unravel_index(quarters.argmax(), (2, 2)) == (row, column), plane
    session.screenshot("marked", view)


def test_the_mask_fades_and_goes(session):
    view = session.ready(0)
    view.locator("canvas.radkit-axial").focus()
    assert orange(session, view) > 100
    session.page.keyboard.press("m")
    assert session.until(lambda: orange(session, view) == 0)
    view.locator("input[type=range]").fill("1")
    assert session.until(lambda: orange(session, view) > 1000)


def test_wheel_and_arrows_scroll(session):
    view = session.ready(0)
    session.page.wait_for_timeout(400)  # a wheel that has just moved the page goes on doing so
    canvas = view.locator("canvas.radkit-axial")
    canvas.hover()
    start, pictures = value(view, "axial"), [session.pixels(view, "axial")]
    for turn, expected in ((-100, start + 1), (-100, start + 2), (100, start + 1)):
        session.page.mouse.wheel(0, turn)
        assert session.until(lambda n=expected: value(view, "axial") == n)
    canvas.focus()
    for key, expected in (("ArrowDown", start), ("ArrowUp", start + 1), ("End", 1), ("PageUp", 11)):
        session.page.keyboard.press(key)
        assert session.until(lambda n=expected: value(view, "axial") == n), key
    pictures.append(session.pixels(view, "axial"))
    assert np.mean(pictures[0] != pictures[1]) > 0.2


def test_a_click_moves_the_crosshair_in_all_planes(session):
    view = session.ready(0)
    box = view.locator("canvas.radkit-axial").bounding_box()
    before = {plane: session.pixels(view, plane) for plane in PLANES}
    session.page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.75)
    assert session.until(lambda: abs(value(view, "sagittal") - 128 * 0.25) <= 2)
    assert abs(value(view, "coronal") - 128 * 0.75) <= 2
    assert all((session.pixels(view, plane) != before[plane]).any() for plane in PLANES)
    assert "HU at LPS (" in view.locator(".radkit-probe").inner_text()


def test_a_right_drag_and_keys_change_the_window(session):
    view = session.ready(0)
    box = view.locator("canvas.radkit-axial").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    text = view.locator(".radkit-window")
    before = session.pixels(view, "axial").mean()
    session.page.mouse.move(x, y)
    session.page.mouse.down(button="right")
    session.page.mouse.move(x - 60, y + 60, steps=4)
    session.page.mouse.up(button="right")
    assert session.until(lambda: text.inner_text() == "W 1140 L -240 HU")
    assert session.pixels(view, "axial").mean() < before - 5
    session.page.keyboard.press("1")
    assert session.until(lambda: text.inner_text() == "W 400 L 50 HU")
    assert view.locator("button[aria-pressed=true]").inner_text() == "1 soft tissue"
    assert session.page.locator(".jp-MarkdownCell").count() == 0, "JupyterLab took the key for itself"


def test_a_distance_is_drawn_with_the_mouse_or_the_keys(session):
    view = session.ready(0)
    axial, row = view.locator("canvas.radkit-axial"), view.locator(".radkit-distances")
    box = axial.bounding_box()
    axial.focus()
    session.page.keyboard.press("d")
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 4
    session.page.mouse.move(x, y)
    session.page.mouse.down()
    session.page.mouse.move(x + box["width"] / 2, y + box["height"] / 2, steps=4)
    session.page.mouse.up()
    assert session.until(lambda: "mm" in row.inner_text())
    assert float(row.inner_text().split()[0]) == pytest.approx(128 * 0.7 / 2 * 2**0.5, abs=0.5)
    for key in ("Enter", *["ArrowLeft"] * 3, "Shift+ArrowDown", "Enter", "Enter", "Shift+ArrowRight", "Enter"):
        session.page.keyboard.press(key)
    assert session.until(lambda: row.inner_text().count("mm") == 3)
    session.page.keyboard.press("Delete")
    assert session.until(lambda: row.inner_text().count("mm") == 2)
    assert "7.3 mm" in row.inner_text()  # 3 columns and 10 rows of 0.7 mm
    yellow = np.all(abs(session.pixels(view, "axial") - (240, 228, 66)) < 30, axis=2).sum()
    session.screenshot("distances", view)
    session.page.keyboard.press("ArrowRight")
    session.page.keyboard.press("Escape")
    session.page.keyboard.press("ArrowUp")
    assert session.until(lambda: np.all(abs(session.pixels(view, "axial") - (240, 228, 66)) < 30, axis=2).sum() < 20)
    assert yellow > 200


def test_a_structure_is_gone_to(session):
    view = session.ready(0)
    axial = view.locator("canvas.radkit-axial")
    axial.focus()
    session.page.keyboard.press("n")
    assert session.until(lambda: probed(view) == session.opened), "it opens at the largest section"
    session.page.keyboard.press("Home")
    assert session.until(lambda: value(view, "axial") == 24)
    view.locator(".radkit-legend button", has_text="nodule").click()
    assert session.until(lambda: probed(view) == session.opened)


def test_python_hears_what_was_done(session):
    cell = session.page.locator(".jp-CodeCell").last

    def told() -> str:
        return session.run(cell).locator(".jp-OutputArea-output").inner_text()

    view = session.ready(0)
    drawn = view.locator(".radkit-distances").inner_text().split()[0]
    assert session.until(lambda: told().strip() == f"[{probed(view)}] [50.0, 400.0] [{drawn}, 7.3]"), told()


def test_every_control_is_reached_by_the_tab_key_and_says_so(session):
    view = session.ready(0)
    view.locator("canvas.radkit-axial").focus()
    names = []
    for control in view.locator("canvas, button, input").all():
        ring, name = control.evaluate(
            "e => [e === document.activeElement && getComputedStyle(e).outline, e.ariaLabel || e.textContent]"
        )
        assert name and ring and "solid 3px" in ring, (name, ring)
        names.append(name)
        session.page.keyboard.press("Tab")
    assert {"axial plane", "2 lung", "D distance", "opacity of the mask", "nodule"} < set(names)


def test_one_plane_large_and_a_page_at_200_percent(session):
    view = session.ready(0)
    axial = view.locator("canvas.radkit-axial")
    small = axial.bounding_box()["width"]
    axial.focus()
    session.page.keyboard.press("f")
    assert session.until(lambda: axial.bounding_box()["width"] > 1.4 * small)
    assert not view.locator("canvas.radkit-coronal").is_visible()
    session.screenshot("large", view)
    session.page.keyboard.press("f")
    session.page.set_viewport_size({"width": 750, "height": 500})  # what is left of 1500 × 1000
    assert session.until(lambda: not misplaced(view)), misplaced(view)
    session.screenshot("narrow", view)
    session.page.set_viewport_size({"width": 1500, "height": 1000})


def misplaced(view) -> list:
    """Return what of a view lies outside of it, and what lies over another part."""
    outer = view.bounding_box()
    boxes = [part.bounding_box() for part in view.locator("canvas, button, input, .radkit-probe, .radkit-help").all()]
    right = outer["x"] + outer["width"]
    found = [b for b in boxes if b["width"] <= 10 or b["x"] < outer["x"] or b["x"] + b["width"] > right]

    def before(one, other) -> bool:
        return any(one[x] + one[size] <= other[x] + 1 for x, size in (("x", "width"), ("y", "height")))

    pairs = itertools.combinations(boxes, 2)
    return found + [(one, other) for one, other in pairs if not before(one, other) and not before(other, one)]


def test_nothing_failed_and_no_request_left_this_machine(session):
    session.wait()
    report = session.look()
    assert report.errors == []
    assert report.outside == [] and len(report.requests) > 20
    assert any(request.startswith("ws://127.0.0.1:") for request in report.requests)


def test_there_are_notebooks_with_views():
    assert "01_anatomy_of_a_dicom_object" in [path.stem for path in WITH_VIEWS]


@pytest.mark.parametrize("path", WITH_VIEWS, ids=lambda path: path.stem)
def test_the_views_of_a_notebook_are_painted(path):
    check(path, run_notebook_in_browser(path))


def test_readme_picture_shows_notebook_00_on_generated_data(request):
    """With ``--take-screenshot`` the picture becomes README's."""
    path = NOTEBOOKS / "00_whole_journey.ipynb"
    with open_notebook(path, RADKIT_STAND_INS="1") as session:
        session.name = "readme"
        session.run_all()
        session.wait()
        check(path, session.look())
        views, set_off = session.page.locator(".radkit-view"), session.page.locator(".radkit-stand-in")
        assert set_off.count() == views.count() > 0
        assert all("STAND-IN (generated)" in title for title in set_off.all_text_contents())
        session.ready(1).evaluate("view => view.scrollIntoView({block: 'center'})")
        picture = session.screenshot("journey")
    if request.config.getoption("--take-screenshot", default=False):
        shutil.copy(picture, NOTEBOOKS.parent / "docs" / "screenshot.png")


def check(path: Path, report) -> None:
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert report.errors == []
    assert len(report.views) == sum(cell.count("rk.view.show(") for cell in cells)
    for view in report.views:
        assert all(len(np.unique(painted)) > 50 for painted in view.values())
    assert report.outside == []


def test_a_port_in_use_is_said_so(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RadkitError, match=f"Port {taken.getsockname()[1]} on 127.0.0.1 is in use"):
            start(tmp_path / "any.ipynb", port=taken.getsockname()[1], browser=False)
