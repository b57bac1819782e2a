"""Nodules of known shape: the truth is the volume asked for, and the same seed gives the same patient."""

from __future__ import annotations

import numpy as np
import pytest
from highdicom import Volume

from radkit_phantoms.nodules import Nodule, insert_nodules, place_nodules


def chest(spacing: tuple[float, float, float], *, side_mm: float = 96.0) -> tuple[Volume, Volume]:
    """A block of noisy soft tissue (40 HU) with a lung (-850 HU) in it, and the lung's mask; LPS mm."""
    affine = np.array([[0, 0, spacing[2], -48.0], [0, spacing[1], 0, -48.0], [spacing[0], 0, 0, 10.0], [0, 0, 0, 1]])
    shape = [round(side_mm / s) for s in spacing]
    depth = [np.minimum(np.arange(n), n - 1 - np.arange(n)) * s for n, s in zip(shape, spacing, strict=True)]
    lung = np.minimum.reduce(np.meshgrid(*depth, indexing="ij")) > 22
    hu = np.where(lung, -850, 40) + np.random.default_rng(0).normal(0, 15, shape)
    volume = Volume(np.rint(hu).astype(np.int16), affine, coordinate_system="PATIENT")
    return volume, volume.with_array(lung.astype(np.uint8))


@pytest.mark.parametrize("lobes", [0, 9])
@pytest.mark.parametrize(("spacing", "diameter", "within"), [((1, 0.7, 0.7), 12, 0.03), ((2.5, 0.7, 0.7), 20, 0.03)])
def test_a_nodule_has_the_volume_asked_for(
    spacing: tuple[float, float, float], diameter: float, within: float, lobes: int
) -> None:
    volume, _ = chest(spacing)
    nodule = Nodule((1.3, -0.4, 57.2), diameter, lobes, seed=4)
    image, truth = insert_nodules(volume, [nodule])
    millimetres = truth.array.sum() * np.prod(spacing)
    assert millimetres == pytest.approx(nodule.volume_mm3, rel=within)
    # The scanner's blur spreads the edge and keeps the sum: what was added to the CT is the nodule's volume too.
    added = (image.array - volume.array.astype(float)).sum() * np.prod(spacing) / (30 + 850)
    assert added == pytest.approx(nodule.volume_mm3, rel=0.03)


def test_a_nodule_lies_where_it_was_put_and_nothing_else_changes() -> None:
    volume, _ = chest((2.5, 1, 1))
    image, truth = insert_nodules(volume, [Nodule((10.0, -6.0, 50.0), 10.0)])
    centre = volume.affine @ [*np.argwhere(truth.array).mean(0), 1]
    assert np.allclose(centre[:3], (10, -6, 50), atol=1)
    changed = np.argwhere(image.array != volume.array) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    assert np.linalg.norm(changed - (10, -6, 50), axis=1).max() < 12


def test_its_grain_is_that_of_the_soft_tissue_around() -> None:
    volume, lung = chest((1, 1, 1))
    image, truth = insert_nodules(volume, [Nodule((0.0, 0.0, 57.0), 24.0, attenuation=40.0)], within=lung)
    inner = np.linalg.norm(np.argwhere(truth.array) - np.argwhere(truth.array).mean(0), axis=1) < 6
    grain = image.array[truth.array > 0][inner]
    assert grain.std() == pytest.approx(15, rel=0.35)
    assert grain.mean() == pytest.approx(40, abs=5)


def test_placed_nodules_stay_in_the_lung_apart_and_are_the_same_for_the_same_seed() -> None:
    volume, lung = chest((2, 1.5, 1.5), side_mm=140)
    placed = place_nodules(volume, lung, 9, seed=7, diameters_mm=(5, 14))
    assert placed == place_nodules(volume, lung, 9, seed=7, diameters_mm=(5, 14))
    assert len(placed) >= 4  # no vessel here, so two sites of three
    image, truth = insert_nodules(volume, placed, within=lung)
    assert set(np.unique(truth.array)) == set(range(len(placed) + 1))
    assert not truth.array[lung.array == 0].any()
    again = insert_nodules(volume, placed, within=lung)[0]
    assert np.array_equal(image.array, again.array)
