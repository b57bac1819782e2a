"""Contours, drawn with the mouse around what is seen on the screen: what is drawn is where it was seen.

Each volume holds one bright body that no flip leaves as it is. The mouse follows its outline as it stands on the
screen, found by its brightness in the picture of the canvas, without any code of the viewer.
"""

import contourpy
import nbformat
import numpy as np
import pytest
from browser import open_notebook
from scipy import ndimage
from test_browser import PLANES, code, value

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SKY_BLUE = (0x56, 0xB4, 0xE9)

# A ball of 14 mm with a nose to the patient's left, front and head, off the middle: in an axial series, in a sagittal
# one from left to right whose rows run from the feet up, and in an axial one that nods by 20 degrees.
MAKE = """import numpy as np, radkit as rk
from highdicom import Volume
from pathlib import Path
def body(affine, shape):
    at = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3] - (-12, 6, 8)
    inside = (np.linalg.norm(at, axis=-1) < 14) | (np.linalg.norm(at - (8, -8, 8), axis=-1) < 11)
    return Volume(np.where(inside, 900, -300).astype(np.int16), affine, coordinate_system="PATIENT")
c, s = np.cos(np.pi / 9), np.sin(np.pi / 9)
nod = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
axial = np.array([[0, 0, 0.8, -51.2], [0, 0.8, 0, -51.2], [3, 0, 0, -48], [0, 0, 0, 1.0]])
sagittal = np.array([[-2.5, 0, 0, 50], [0, 0, 0.9, -45], [0, 0.9, 0, -45], [0, 0, 0, 1.0]])
volumes = [body(axial, (32, 128, 128)), body(sagittal, (40, 100, 100)), body(nod @ axial, (32, 128, 128))]
views = [rk.view.show(volume, window=(300, 1200), at=(-12, 6, 8)) for volume in volumes]
Path("99_draw_sol.py").write_text('''# %% tags=["question"]
rk.check.Mask("outline", answer, hint="Outline the bright body.", way="Drag around it.", right="Well drawn.")

# %%
check("outline", view)
''')
answer = volumes[0].with_array(np.zeros(volumes[0].shape, np.uint8))
answer.array[19] = volumes[0].array[19] > 0
check = rk.check.Exercise("99_draw", answer=answer)"""
CHECK = """points = [(-40, 30, 9), (-25, 30, 9), (-25, 40, 9)]
other = {"plane": "axial", "slice": 19, "points": points, "name": "reader 2"}
check("outline", rk.view.show(volumes[0], window=(300, 1200), at=(-12, 6, 9), contours=[other]))"""
COMPARE = """for view, volume in zip(views, volumes):
    truth, drawn = volume.array > 0, view.drawn.array > 0
    for contour in view.contours:
        axis = next(p["through"][0] for p in view.description["planes"] if p["name"] == contour["plane"])
        t, d = (np.moveaxis(mask, axis, 0)[contour["slice"]] for mask in (truth, drawn))
        print(contour["plane"], round(2 * (t & d).sum() / (t.sum() + d.sum()), 2))
    blue = np.all(np.asarray(view.still().image) == (0x56, 0xB4, 0xE9), axis=2)
    print("blue", int(blue.sum()))"""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    path = tmp_path_factory.mktemp("notebook") / "contours.ipynb"
    nbformat.write(code(MAKE, *(f"views[{i}]" for i in range(3)), CHECK, COMPARE), path)
    with open_notebook(path) as session:
        session.run_all()
        session.wait()
        yield session


def outline(session, view, plane: str, step: int = 12) -> np.ndarray:
    """Return the outline of what is bright in a plane, as it stands on the screen, in pixels of the page."""
    bright = ndimage.binary_opening(session.pixels(view, plane).mean(axis=2) > 110, np.ones((7, 7)))
    parts, _ = ndimage.label(bright)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    lines = contourpy.contour_generator(z=ndimage.binary_fill_holes(largest).astype(float)).lines(0.5)
    box = view.locator(f"canvas.radkit-{plane}").bounding_box()
    return max(lines, key=len)[::step] + 0.5 + (box["x"], box["y"])


def drag(session, points: np.ndarray) -> None:
    session.page.mouse.move(*points[0])
    session.page.mouse.down()
    for point in points[1:]:
        session.page.mouse.move(*point)
    session.page.mouse.up()


def blue(session, view, plane: str) -> int:
    return int(np.all(abs(session.pixels(view, plane) - SKY_BLUE) < 25, axis=2).sum())


def kept(view) -> list[str]:
    """Return the contours that are listed under the planes."""
    return view.locator(".radkit-contours > span > button:first-child").all_inner_texts()


@pytest.mark.parametrize("number", range(3), ids=["axial series", "sagittal series, reversed", "oblique"])
def test_a_contour_is_drawn_in_every_plane(session, number):
    view = session.ready(number)
    view.locator("canvas.radkit-axial").focus()
    session.page.keyboard.press("c")
    for count, plane in enumerate(PLANES, start=1):
        drag(session, outline(session, view, plane))
        assert session.until(lambda n=count: len(kept(view)) == n), plane
        assert session.until(lambda p=plane: blue(session, view, p) > 200), plane
    assert [text.split()[0] for text in kept(view)] == list(PLANES)
    session.screenshot(f"drawn-{number}", view)


def test_python_has_what_was_drawn_on_the_voxels_that_were_seen(session):
    cell = session.page.locator(".jp-CodeCell").last

    def tell() -> list[tuple[str, float]]:
        said = session.run(cell).locator(".jp-OutputArea-output").inner_text().split()
        return list(zip(said[::2], map(float, said[1::2]), strict=True))

    # Python hears of a gesture a moment after its end.
    assert session.until(lambda: [name for name, _ in tell()] == [*PLANES, "blue"] * 3), tell()
    told = tell()
    assert all(figure > (1000 if name == "blue" else 0.94) for name, figure in told), told


def test_a_contour_stays_with_its_slice_and_is_removed_there(session):
    view = session.ready(0)
    axial = view.locator("canvas.radkit-axial")
    axial.focus()
    there, before = value(view, "axial"), blue(session, view, "axial")
    session.page.keyboard.press("ArrowUp")
    assert session.until(lambda: value(view, "axial") == there + 1 and blue(session, view, "axial") == 0)
    session.page.keyboard.press("Delete")  # there is none in this slice
    session.page.keyboard.press("ArrowDown")
    assert session.until(lambda: blue(session, view, "axial") == before) and len(kept(view)) == 3
    session.page.keyboard.press("Delete")
    assert session.until(lambda: blue(session, view, "axial") == 0)
    assert [text.split()[0] for text in kept(view)] == ["coronal", "sagittal"]


def test_a_contour_is_drawn_zoomed_in_and_corner_by_corner(session):
    view = session.ready(0)
    axial = view.locator("canvas.radkit-axial")
    axial.focus()
    session.page.keyboard.press("+")
    session.page.keyboard.press("+")
    session.page.wait_for_timeout(200)
    drag(session, outline(session, view, "axial"))
    assert session.until(lambda: len(kept(view)) == 3)
    session.screenshot("zoomed", view)
    size = kept(view)[-1].partition(": ")[2]
    session.page.keyboard.press("-")
    session.page.keyboard.press("-")
    keys = ("Enter", *["ArrowRight"] * 3, "Enter", "Shift+ArrowDown", "Shift+Enter")
    for key in keys:
        session.page.keyboard.press(key)
    assert session.until(lambda: len(kept(view)) == 4)
    assert kept(view)[-1].endswith(": 9.6 mm², longest 8.4 mm")  # half of 3 x 10 voxels of 0.8 mm
    session.page.keyboard.press("Backspace")
    assert session.until(lambda: len(kept(view)) == 3) and kept(view)[-1].endswith(size)
    session.page.keyboard.press("Escape")
    button = view.locator("button", has_text="C contour")
    assert session.until(lambda: button.get_attribute("aria-pressed") == "false")


def test_a_finger_draws_as_the_mouse_does(session):
    view = session.ready(1)
    view.locator(".radkit-contours button", has_text="×").first.click()
    assert session.until(lambda: len(kept(view)) == 2)
    points, finger = outline(session, view, "axial"), session.page.context.new_cdp_session(session.page)
    for number, (x, y) in enumerate(points):
        where = {"type": "touchMove" if number else "touchStart", "touchPoints": [{"x": float(x), "y": float(y)}]}
        finger.send("Input.dispatchTouchEvent", where)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert session.until(lambda: len(kept(view)) == 3)


def test_the_check_knows_a_good_outline_from_one_on_the_wrong_side(session):
    view = session.ready(3)
    cell = session.page.locator(".jp-CodeCell").nth(4)

    def says(text: str) -> bool:
        for _ in range(5):  # Python hears of a gesture a moment after its end: if it had not, it is asked again
            session.page.wait_for_timeout(400)
            cell.locator("button", has_text="Check").click()
            if session.until(lambda: text in cell.locator(".jp-OutputArea").inner_text(), 30):
                return True
        return False

    assert says("Outline the bright body.")
    around = outline(session, view, "axial")
    box = view.locator("canvas.radkit-axial").bounding_box()
    mirrored = np.stack([2 * box["x"] + box["width"] - around[:, 0], around[:, 1]], axis=1)
    view.locator("button", has_text="C contour").click()
    drag(session, mirrored)
    assert session.until(lambda: len(kept(view)) == 2)
    assert says("the patient's right is on the left")
    session.screenshot("wrong-side", cell)
    for _ in range(2):  # what another reader drew stays
        view.locator("canvas.radkit-axial").press("Delete")
    assert session.until(lambda: kept(view) == ["axial 20: reader 2: 75.0 mm², longest 18.0 mm"])
    drag(session, outline(session, view, "axial"))
    assert session.until(lambda: len(kept(view)) == 2)
    assert says("Well drawn.")
    session.screenshot("right", cell)


def test_nothing_failed_and_no_request_left_this_machine(session):
    assert session.report.errors == [] and session.report.outside == []
