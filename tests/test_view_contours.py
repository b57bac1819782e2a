"""Contours: what they enclose is where they were drawn, in every plane and in every order of the array."""

import itertools

import numpy as np
import pytest
from highdicom import Volume
from test_view import ORIENTATIONS

import radkit as rk
from radkit.errors import ViewError

SPAN = {"axial": ((1, 0, 0), (0, 1, 0)), "coronal": ((1, 0, 0), (0, 0, -1)), "sagittal": ((0, 1, 0), (0, 0, -1))}
L = [(1, 1), (4.2, 1), (4.2, 8), (9, 8), (9, 11), (1, 11)]  # across and down the screen in cm: mirrored, it is no L
AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}  # of LPS, across the plane
SKY_BLUE, PURPLE = (0x56, 0xB4, 0xE9), (0xCC, 0x79, 0xA7)


def letter(plane: str, corner, size: float = 3.0) -> np.ndarray:
    """Return the outline of an upright L in a plane, in LPS mm; its upper left corner lies at `corner`."""
    return np.array(corner) + np.array(L) * size @ np.array(SPAN[plane])


def inside(points: np.ndarray, plane: str, corner, size: float = 3.0) -> np.ndarray:
    """Return which points lie above or below the L, across the plane, by its two bars."""
    x, y = ((points - corner) @ np.array(SPAN[plane]).T / size).T
    return (x > 1) & (y > 1) & (y < 11) & ((x < 4.2) | ((y > 8) & (x < 9)))


@pytest.fixture
def block() -> Volume:
    """20 × 40 × 50 voxels of 4 × 2 × 1.5 mm."""
    affine = np.array([[0, 0, 1.5, -35], [0, 2, 0, -30], [4, 0, 0, -50], [0, 0, 0, 1.0]])
    return Volume(np.zeros((20, 40, 50), np.int16), affine, coordinate_system="PATIENT")


def around(volume: Volume, plane: str, at=(10, 20, 25), **more) -> dict:
    """Return the L about a voxel, in its slice of a plane."""
    corner = volume.map_indices_to_reference(np.array([at]))[0] - np.array(SPAN[plane]).sum(0) * 15.3
    through = int(abs(volume.affine[AXIS[plane], :3]).argmax())
    return {"plane": plane, "slice": at[through], "points": letter(plane, corner).tolist(), **more}


@pytest.mark.parametrize(("orientation", "plane"), list(itertools.product(ORIENTATIONS[::3], SPAN)))
def test_an_l_is_filled_where_it_stands_in_the_patient(block, orientation, plane):
    turned = block.to_patient_orientation(orientation)
    middle = block.map_indices_to_reference(np.array([[10, 20, 25]]))[0]
    corner = middle - np.array(SPAN[plane]).sum(0) * 15.3
    at = tuple(np.rint(turned.map_reference_to_indices(middle[None])[0]).astype(int).tolist())
    drawn = rk.view.show(turned, contours=[around(turned, plane, at)]).drawn
    where = turned.map_indices_to_reference(np.indices(turned.spatial_shape).reshape(3, -1).T)
    expected = inside(where, plane, corner) & (abs((where - middle)[:, AXIS[plane]]) < 0.1)
    assert drawn.array.dtype == np.uint8 and np.allclose(drawn.affine, turned.affine)
    assert expected.sum() > 50 and np.array_equal(drawn.array.ravel(), expected)


@pytest.mark.parametrize("plane", SPAN)
def test_in_an_oblique_volume_it_turns_with_the_patient(block, plane):
    c, s = np.cos(np.pi / 9), np.sin(np.pi / 9)
    nod = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    nodding = Volume(block.array, nod @ block.affine, coordinate_system="PATIENT")
    upright = around(block, plane)
    turned = {**upright, "points": (np.array(upright["points"]) @ nod[:3, :3].T).tolist()}
    one, same = (rk.view.show(v, contours=[c]).drawn.array for v, c in ((block, upright), (nodding, turned)))
    assert one.sum() > 50 and np.array_equal(one, same)


def test_a_contour_within_another_cuts_a_hole_and_crossing_planes_do_not(block):
    def square(half: float, plane: str = "axial") -> dict:
        across, down = np.array(SPAN[plane])
        middle = block.map_indices_to_reference(np.array([[10, 20, 25]]))[0]
        ends = [middle + half * (a * across + b * down) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        at = {"axial": 10, "coronal": 20}[plane]
        return {"plane": plane, "slice": at, "points": ends}

    view = rk.view.show(block, contours=[square(15.1)])
    full = view.drawn.array.sum()
    view.contours = [square(15.1), square(5.1)]
    ring = view.drawn.array
    assert full == 15 * 21 and ring.sum() == full - 5 * 7 and not ring[10, 20, 25]
    view.contours = [square(15.1), square(15.1, "coronal")]
    assert view.drawn.array.sum() == full + 7 * 21 - 21
    view.contours = [square(15.1), {**square(5.1), "name": "reader 2"}]
    assert view.drawn.array.sum() == full, "what another reader drew is no part of it"
    view.contours = []
    assert not view.drawn.array.any()


def test_a_contour_that_leaves_the_image_is_cut_at_its_edge(block):
    corner = block.map_indices_to_reference(np.array([[3, 0, 0]]))[0]
    points = np.add(corner, [(-90, -90, 0), (4, -90, 0), (4, 5, 0), (-90, 5, 0)]).tolist()
    assert rk.view.show(block, contours=[{"plane": "axial", "slice": 3, "points": points}]).drawn.array.sum() == 3 * 3


def test_the_still_shows_both_readers_their_names_and_sizes(block):
    def count(still, colour) -> int:
        return int(np.all(np.asarray(still.image) == colour, axis=2).sum())

    own, other = around(block, "axial"), around(block, "sagittal", name="reader 2")
    view, middle = rk.view.show(block, contours=[own, other]), block.map_indices_to_reference(np.array([[10, 20, 25]]))
    still = view.still()
    area = (3.2 * 7 + 8 * 3) * 9  # of the L, in mm²
    assert f"measured: {area:.1f} mm², longest" in still.text and f"reader 2: {area:.1f} mm²" in still.text
    assert count(still, SKY_BLUE) > 300 and count(still, PURPLE) > 300
    view.voxel = [11, 20, 25]
    assert count(view.still(), SKY_BLUE) == 0 and count(view.still(), PURPLE) > 300
    same = rk.view.still(block, contours=[own, other], at=middle[0])
    assert np.array_equal(np.asarray(same.image), np.asarray(still.image))


def test_a_contour_that_does_not_lie_in_the_view_is_refused_in_words(block):
    good = around(block, "axial")
    for message, wrong in {
        "axial or coronal or sagittal.*'axal'": {**good, "plane": "axal"},
        "1.00 slices from slice 11": {**good, "slice": 11},
        "slices from slice 20": {**good, "slice": 20},
        "2 points": {**good, "points": good["points"][:2]},
        "'points'": {"plane": "axial", "slice": 10},
        "nan": {**good, "points": np.full((3, 3), np.nan)},
        "Contour 2": {**good, "points": np.zeros((4, 2))},
    }.items():
        with pytest.raises(ViewError, match=message):
            rk.view.still(block, contours=[good, wrong])
    view = rk.view.show(block)
    with pytest.raises(ViewError, match="Contour 1"):
        view.contours = [{**good, "plane": "image"}]
    assert view.contours == [] and rk.view.show(block, contours=[good]).contours == [good]


def test_a_view_answers_with_what_is_drawn_in_it(block):
    answer = rk.view.show(block, contours=[around(block, "axial", (10, 20, 40))]).drawn
    question = rk.check.Mask("outline", answer, hint="Look.", way="Draw.", right="Well drawn.")
    view = rk.view.show(block, contours=[around(block, "axial", (10, 20, 40), name="reader 2")])
    assert question.grade(view) == ("open", "Look.")
    view.contours = [around(block, "axial", (10, 20, 40))]
    assert question.grade(view) == ("right", "Well drawn.")
    view.contours = [around(block, "axial", (10, 20, 9))]
    assert "the patient's other side" in question.grade(view)[1]
    view.contours = [around(block, "axial", (4, 20, 40))]
    assert question.grade(view) == ("wrong", "Look.")
