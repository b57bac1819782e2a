"""Brains with lesions, grown from the (made-up) atlas: exact truth, plausible contrasts, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import radkit as rk
from radkit.data.volumes import read_any
from radkit_phantoms.brain import LESION, SCANNERS, Atlas, grow_brain
from radkit_phantoms.brain_lesions import PLACES

pytestmark = pytest.mark.slow  # together too long for `make check`


def make_atlas() -> Atlas:
    files = rk.data.fetch("brain-atlas", stand_in=True).files
    return Atlas(*(read_any(files[key]) for key in ("t1", "gray", "white")))


def digest(studies) -> str:
    arrays = [volume.array for images, truth, _ in studies for volume in (*images.values(), truth)]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.fixture(scope="module")
def atlas():
    return make_atlas()


@pytest.fixture(scope="module")
def person(atlas):
    return grow_brain(atlas, 3, lesions=6)[0]


def test_images_and_truth_lie_as_a_scanner_writes_them(person):
    images, truth, _ = person
    assert set(images) == {"t1", "t2", "flair"}
    for image in images.values():
        assert image.array.dtype == np.int16 and image.geometry_equal(truth)
    assert (truth.shape, truth.spacing, truth.array.dtype) == ((80, 96, 80), (2.0, 2.0, 2.0), np.uint8)
    assert np.array_equal(np.sign(truth.affine[:3, :3]), np.eye(3)[::-1])  # towards head, posterior and left
    lowest = np.argwhere(images["t1"].array)[:200]
    assert lowest[:, 1].mean() > 48  # the stem and the cerebellum lie behind the middle


def test_the_facts_say_what_the_truth_shows(person):
    _, truth, facts = person
    assert [fact["number"] for fact in facts] == [1, 2, 3, 4, 5, 6]
    for fact in facts:
        mask = truth.array == fact["number"]
        assert mask.sum() * truth.voxel_volume == pytest.approx(fact["volume_mm3"], rel=0.25, abs=40)
        assert fact["volume_mm3"] == pytest.approx(np.pi / 6 * fact["diameter_mm"] ** 3)
        assert fact["attributes"]["place"] in PLACES
        assert ndimage.find_objects(mask.astype(int))[0] == tuple(slice(*ends) for ends in fact["box"])
        middle = truth.map_indices_to_reference(np.argwhere(mask).mean(0)[None])[0]
        assert np.allclose(middle, fact["centre"], atol=1)


def test_over_many_lesions_the_voxels_make_up_the_exact_volume(atlas):
    """Nearly: what is convex loses a little where only voxels that are more than half filled count."""
    grown = [grow_brain(atlas, seed, lesions=6)[0] for seed in range(6)]
    exact = sum(fact["volume_mm3"] for _, _, facts in grown for fact in facts)
    assert 0.88 < sum((truth.array > 0).sum() * truth.voxel_volume for _, truth, _ in grown) / exact < 1.02


def test_volumes_are_the_same_in_thin_and_thick_slices_on_every_scanner(atlas, person):
    volumes = [fact["volume_mm3"] for fact in person[2]]
    for how in ({"scanner": "B"}, {"scanner": "C"}, {"thickness_mm": 4.0}, {"dose": 0.25}):
        images, truth, facts = grow_brain(atlas, 3, lesions=6, **how)[0]
        assert [fact["volume_mm3"] for fact in facts] == volumes
        assert truth.spacing[0] == how.get("thickness_mm", SCANNERS[how.get("scanner", "A")].thickness_mm)
        assert images["t1"].spatial_shape == truth.spatial_shape
        top, bottom = (ends.affine[2, 3] - ends.spacing[0] / 2 for ends in (truth, person[1]))
        assert top == pytest.approx(bottom)  # the same block, cut otherwise


@pytest.mark.parametrize("scanner", list(SCANNERS))
def test_tissues_are_as_bright_as_radiologists_know_them(atlas, scanner):
    images, truth, _ = grow_brain(atlas, 3, lesions=6, scanner=scanner, dose=4)[0]
    clean, _, _ = grow_brain(atlas, 3, lesions=0, scanner=scanner, dose=4)[0]
    t1, t2, flair = (clean[name].array.astype(float) for name in ("t1", "t2", "flair"))
    middle = ndimage.binary_erosion(t1 > 0, iterations=2)
    fluid = middle & (t2 > 0.8 * np.quantile(t2[middle], 0.999))
    white = middle & (t1 > np.quantile(t1[middle], 0.7))
    assert np.median(t1[fluid]) < 0.6 * np.median(t1[white])
    assert np.median(flair[fluid]) < 0.6 * np.median(flair[white])
    assert np.median(t2[fluid]) > 1.5 * np.median(t2[white])
    inside = ndimage.binary_erosion(truth.array > 0, np.ones((1, 3, 3)))
    ratio = {name: np.median(images[name].array[inside] / clean[name].array[inside]) for name in images}
    assert ratio["t1"] < 1 < ratio["t2"] and 1.2 < ratio["flair"] < LESION["flair"][1] + 0.1


def test_less_dose_is_more_noise(atlas):
    def noise(dose: float) -> float:
        once, again = (
            images["flair"].array.astype(float) for images, _, _ in grow_brain(atlas, 5, dose=dose, lesions=0, times=2)
        )
        change = (once - again) / np.sqrt(2)  # the same brain, noise (and coil) anew
        return (change - ndimage.uniform_filter(change, 5))[ndimage.binary_erosion(once > 0, iterations=3)].std()

    assert noise(0.25) == pytest.approx(2 * noise(1.0), rel=0.05)
    assert noise(1.0) == pytest.approx(SCANNERS["A"].noise, rel=0.1)


def test_outside_the_brain_all_is_0_and_inside_nothing_is(person):
    images, _, _ = person
    zero = [image.array == 0 for image in images.values()]
    assert (zero[0] == zero[1]).all() and (zero[0] == zero[2]).all()
    assert 0.2 < 1 - zero[0].mean() < 0.5


def test_lesions_grow_shrink_appear_and_go(atlas):
    seen = set()
    for seed in range(6):
        before: dict = {}
        for time, (_, truth, facts) in enumerate(grow_brain(atlas, seed, lesions=3, times=4)):
            volumes = {fact["number"]: fact["volume_mm3"] for fact in facts}
            assert set(np.unique(truth.array)) - {0} <= set(volumes)
            for fact in facts:
                was, now, called = before.get(fact["number"]), fact["volume_mm3"], fact["attributes"].get("change")
                assert (called is None) == (time == 0) and (called == "new") == (time > 0 and was is None)
                if called in ("grown", "shrunk"):
                    assert (now > was) == (called == "grown")
                seen.add(called)
            seen |= {"gone"} if set(before) - set(volumes) else set()
            before = volumes
    assert seen == {None, "stable", "grown", "shrunk", "new", "gone"}


def test_more_time_points_do_not_change_the_first_nor_make_the_healthy_ill(atlas):
    assert digest(grow_brain(atlas, 4, times=1)) == digest(grow_brain(atlas, 4, times=2)[:1])
    assert not any(facts for _, _, facts in grow_brain(atlas, 4, lesions=0, times=3))


def test_ventricles_widen_with_age(atlas):
    def fluid(age: float) -> float:
        t2 = [grow_brain(atlas, seed, lesions=0, age=age)[0][0]["t2"].array for seed in range(2)]
        return sum(float((one > 650).sum()) for one in t2)

    assert fluid(80) > 1.2 * fluid(40)


def test_too_many_lesions_are_refused(atlas):
    with pytest.raises(ValueError, match="no room for 240 lesions"):
        grow_brain(atlas, 1, lesions=240)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_on_a_lesser_processor(atlas):
    """In a process of its own, without the wide instructions of this one: other sums inside numpy, the same bytes."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    wide = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    code = f"""import test_brain as t
from numpy._core._multiarray_umath import __cpu_features__
assert not any(__cpu_features__[name] for name in {wide})
print(t.digest(t.grow_brain(t.make_atlas(), 9, times=2)))"""
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(wide), "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.strip() == digest(grow_brain(atlas, 9, times=2))
    assert digest(grow_brain(atlas, 9)) != digest(grow_brain(atlas, 10))
