"""Chests with nodules: the truth is exact, the kind is the one asked for, and nobody sees where the scan ends."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from highdicom import Volume
from scipy import ndimage

from radkit_phantoms.chest import PLACES, Base, grow_chest

pytestmark = pytest.mark.slow  # together too long for `make check`


def chest(*, lesion: bool = False) -> Base:
    """A body with two lungs, vessels in them and noise of its own; with a lesion of 1500 HU in the right one."""
    spacing, shape = np.array([2.5, 1.0, 1.0]), (64, 220, 280)
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    hu = np.where(((x - 140) / 136) ** 2 + ((y - 110) / 105) ** 2 < 1, 40.0, -1000.0)
    for middle in (75, 205):
        hu[((x - middle) / 55) ** 2 + ((y - 110) / 80) ** 2 + ((z - 80) / 110) ** 2 < 1] = -850
        for row in range(50, 171, 30):  # vessels that rise aslant
            for column in (-30, 0, 30):
                hu[((x - middle - column - z / 9) ** 2 + (y - row) ** 2 < 4) & (hu < -800)] = 40
    own = (x - 40) ** 2 + (y - 110) ** 2 + (z - 80) ** 2 < 64
    if lesion:
        hu[own] = 1500
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), (0, 0.6, 0.6))
    affine = np.array([[0, 0, 1.0, -140], [0, 1.0, 0, -110], [2.5, 0, 0, -80], [0, 0, 0, 1]])
    hu = ndimage.gaussian_filter(hu, (0, 0.7, 0.7)) + 15 * noise / noise.std()
    image = Volume(np.rint(hu).astype(np.int16), affine, coordinate_system="PATIENT")
    return Base(image, image.with_array(own.astype(np.uint8)) if lesion else None)


def digest() -> str:
    """What two patients look like, in one number."""
    base, made = chest(), hashlib.sha256()
    for seed, scanner in enumerate("BC"):
        images, truth, facts = grow_chest(base, seed, scanner=scanner, dose=0.5)
        made.update(images["ct"].array.tobytes() + truth.array.tobytes())
        made.update(repr([(fact["box"], round(fact["volume_mm3"], 6)) for fact in facts]).encode())
    return made.hexdigest()


@pytest.fixture(scope="module")
def base() -> Base:
    return chest()


def millilitres(truth: Volume, mask: np.ndarray) -> float:
    return float(mask.sum() * np.prod(truth.spacing)) / 1000


@pytest.mark.parametrize("density", ["solid", "part-solid", "ground glass"])
def test_the_mask_has_the_volume_the_box_and_the_centre_that_the_facts_say(base: Base, density: str) -> None:
    for seed in range(3):
        _, truth, facts = grow_chest(base, seed, density=density, diameters_mm=(12, 22))
        assert set(np.unique(truth.array)) == set(range(len(facts) + 1))
        for fact in facts:
            mask = truth.array == fact["number"]
            assert millilitres(truth, mask) == pytest.approx(fact["volume_mm3"] / 1000, rel=0.06)
            found = ndimage.find_objects(mask.astype(int))[0]
            assert fact["box"] == tuple((side.start, side.stop) for side in found)
            centre = (truth.affine @ [*np.argwhere(mask).mean(0), 1])[:3]
            assert np.linalg.norm(centre - fact["centre"]) < 0.4


def test_the_axes_and_the_grid_are_those_of_a_block_at_its_place_in_the_patient(base: Base) -> None:
    images, truth, _ = grow_chest(base, 1, thickness_mm=5)
    assert images["ct"].spatial_shape == (20, 128, 128) and images["ct"].array.dtype == np.int16
    assert truth.array.dtype == np.uint8 and np.array_equal(truth.affine, images["ct"].affine)
    assert np.array_equal(truth.affine[:3, :3], [[0, 0, 0.75], [0, 0.75, 0], [5, 0, 0]])
    assert grow_chest(base, 1)[0]["ct"].spatial_shape == (40, 128, 128)


def test_ground_glass_lets_vessels_shine_through(base: Base) -> None:
    with_one, truth, (fact,) = grow_chest(
        base, 5, nodules=1, density="ground glass", place="vessel", diameters_mm=(20, 22)
    )
    without = grow_chest(base, 5, nodules=0)[0]["ct"].array.astype(float)
    inner = ndimage.binary_erosion(truth.array > 0, iterations=2)
    lung, vessel = inner & (without < -750), inner & (without > -50)
    assert vessel.any() and lung.sum() > 100
    assert -650 <= fact["attributes"]["attenuation_hu"] <= -450
    assert with_one["ct"].array[lung].mean() == pytest.approx(fact["attributes"]["attenuation_hu"], abs=40)
    assert with_one["ct"].array[vessel].mean() == pytest.approx(without[vessel].mean(), abs=40)


def test_a_part_solid_nodule_has_a_solid_core_of_the_volume_it_says(base: Base) -> None:
    for seed in range(3):
        images, truth, (fact,) = grow_chest(
            base, seed, nodules=1, density="part-solid", place="free", diameters_mm=(16, 18)
        )
        solid = (truth.array > 0) & (images["ct"].array > -270)  # half-way from ground glass to tissue
        assert millilitres(truth, solid) == pytest.approx(fact["attributes"]["core_mm3"] / 1000, rel=0.3)
        assert 0 < fact["attributes"]["core_mm3"] < fact["volume_mm3"]


@pytest.mark.parametrize("place", PLACES)
def test_a_nodule_lies_where_it_is_said_to_lie(base: Base, place: str) -> None:
    for seed in range(3):
        _, truth, (fact,) = grow_chest(base, seed, nodules=1, place=place, margin="smooth", diameters_mm=(10, 16))
        without = ndimage.gaussian_filter(grow_chest(base, seed, nodules=0)[0]["ct"].array.astype(float), (0, 1, 1))
        rim = ndimage.binary_dilation(truth.array > 0, np.ones((1, 3, 3)), iterations=2)
        body = ndimage.binary_opening(without > -400, np.ones((1, 3, 3)), iterations=5)  # no vessel is so wide
        body = ndimage.binary_dilation(body, np.ones((1, 3, 3)), iterations=2)
        touched = {"pleura": bool((rim & body).any()), "vessel": bool((rim & (without > -400) & ~body).any())}
        touched["free"] = not any(touched.values())
        assert touched[place] and fact["attributes"]["place"] == place


def test_the_grain_in_a_nodule_is_that_of_the_tissue_around_on_every_scanner(base: Base) -> None:
    for scanner, dose in (("A", 1), ("A", 0.25), ("B", 1), ("C", 1)):
        how = {"scanner": scanner, "dose": dose, "nodules": 1, "margin": "smooth", "place": "free"}
        images, truth, _ = grow_chest(base, 2, density="solid", diameters_mm=(21, 23), **how)
        hu = images["ct"].array.astype(float)
        grain = hu - ndimage.gaussian_filter(hu, (0, 2.5, 2.5))
        nodule = ndimage.binary_erosion(truth.array > 0, np.ones((1, 3, 3)), iterations=7)
        tissue = ndimage.binary_erosion(ndimage.gaussian_filter(hu, 2) > -20, np.ones((1, 3, 3)), iterations=9)
        assert nodule.sum() > 100 and tissue.sum() > 200
        assert grain[nodule].std() == pytest.approx(grain[tissue].std(), rel=0.25)


def test_dose_scanner_and_thickness_change_the_image_and_not_the_patient(base: Base) -> None:
    def noise(**how: object) -> float:
        images, _, facts = grow_chest(base, 2, **how)
        assert np.allclose([fact["centre"] for fact in facts], centres, atol=0.3)
        hu = images["ct"].array.astype(float)
        tissue = ndimage.binary_erosion(ndimage.gaussian_filter(hu, 2) > -20, np.ones((1, 3, 3)), iterations=9)
        return float((hu - ndimage.gaussian_filter(hu, (0, 4, 4)))[tissue].std())

    centres = [fact["centre"] for fact in grow_chest(base, 2)[2]]
    normal = noise()
    assert noise(dose=0.25) == pytest.approx(2 * normal, rel=0.12)
    assert noise(scanner="B") > 1.5 * normal
    assert noise(thickness_mm=5) == pytest.approx(normal / 2**0.5, rel=0.15)


def test_no_study_shows_a_lesion_of_the_real_patient() -> None:
    base = chest(lesion=True)
    for seed in range(8):
        assert grow_chest(base, seed, nodules=0)[0]["ct"].array.max() < 800


def test_a_ct_without_room_is_refused_in_words(base: Base) -> None:
    with pytest.raises(ValueError, match="fits into this CT"):
        grow_chest(Base(base.image[:, :60, :60]), 0)
    with pytest.raises(ValueError, match="ask for fewer or smaller"):
        grow_chest(base, 0, nodules=40, diameters_mm=(24, 25))


def test_the_same_seed_gives_the_same_bytes_on_another_processor() -> None:
    features = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3"
    code = "import warnings; warnings.simplefilter('ignore'); import test_chest_cohort as t; print(t.digest())"
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": features, "OPENBLAS_CORETYPE": "Nehalem"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert child.stdout.strip() == digest(), child.stderr
