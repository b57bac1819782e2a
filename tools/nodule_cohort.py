"""The cohort that the nodule network learns from: patches with nodules of known shape, and patches that only look so.

It is made before training and kept in memory: made on the fly it would starve so small a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from radkit.model import lungs
from radkit.model.inference import TO_RAS, to_tensor
from radkit_phantoms.nodules import Nodule, fill, insert_nodules, place_nodules

# A sphere of 30 mm: what is larger is a mass (Fleischner Society glossary, Radiology 2008;246:697).
LARGEST_MM3 = 14137.0
MARGIN_MM = 40.0  # of chest wall, diaphragm and mediastinum kept around the lungs


@dataclass(frozen=True)
class Case:
    """One real CT to grow patients from, with the mask of its own lesion, where it has one, on the same grid."""

    image: Volume
    lesion: Volume | None = None


def make_cohort(
    cases: Sequence[Case], preprocessing: Any, *, variants: int, nodules: int, patch: int, seed: int
) -> tuple[NDArray, NDArray]:
    """Cut patches from ``variants`` patients grown from each real CT, with up to ``nodules`` nodules each.

    One patch, a cube of ``patch`` voxels, is cut around each nodule, and one around a place that may pass for a nodule:
    in turn something bright in the lung (a vessel, the hilum), the edge of the lung (pleura, diaphragm), anywhere in
    it. A real lesion of at most 30 mm is taught as a nodule; a larger one is kept out of every patch. ``preprocessing``
    is the bundle's own, from after the reading of a file: the network is taught on what it will see.

    Returns images, float16 (n, column, row, slice), and their truth, uint8, of the same shape.
    """
    pairs: list[tuple[NDArray, NDArray]] = []
    with tqdm(total=len(cases) * variants, desc="Growing the cohort", unit="patient") as bar:
        for number, case in enumerate(cases):
            chest = _Chest(case, preprocessing)
            for variant in range(variants):
                rng = np.random.default_rng([seed, number, variant])
                pairs += chest.patches(nodules, patch, rng)
                bar.update()
    images, truths = zip(*pairs, strict=True)
    return np.stack(images), np.stack(truths)


class _Chest:
    """A case cropped to its lungs and what surrounds them, with what all patients grown from it share."""

    def __init__(self, case: Case, prepare: Any):
        lung = lungs(case.image)
        margin = np.ceil(MARGIN_MM / np.asarray(lung.spacing)).astype(int)
        sides = zip(ndimage.find_objects(lung.array)[0], margin, lung.spatial_shape, strict=True)
        box: Any = tuple(slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in sides)
        self.prepare, self.image, self.lungs = prepare, case.image[box], lung[box]
        self.lesion = None if case.lesion is None else case.lesion[box]
        grid = self.prepared(self.image)
        self.inside = _onto(grid, self.lungs)
        self.taught = np.zeros(grid.spatial_shape, np.uint8)
        self.barred = np.zeros(grid.spatial_shape, bool)
        if self.lesion is not None:
            lesion = _onto(grid, self.lesion).array > 0
            small = lesion.sum() * np.prod(grid.spacing) <= LARGEST_MM3
            (self.taught if small else self.barred)[lesion] = 1

    def prepared(self, image: Volume) -> Volume:
        """The image as the network sees it, on its grid."""
        tensor = self.prepare({"image": to_tensor(image)})["image"]
        return Volume(tensor[0].numpy(), TO_RAS @ tensor.affine.numpy(), coordinate_system="PATIENT")

    def patches(self, count: int, patch: int, rng: np.random.Generator) -> Iterator[tuple[NDArray, NDArray]]:
        """Grow one patient, and cut its patches."""
        placed = place_nodules(self.image, self.lungs, count, seed=int(rng.integers(2**31)))
        placed = [nodule for nodule in placed if not _touches(nodule, self.lesion)]
        grown = insert_nodules(self.image, placed, within=self.lungs, blur_mm=float(rng.uniform(0.4, 0.9)))[0]
        grid, truth = self.prepared(grown), self.taught.copy()
        for nodule in placed:
            box, filled = fill(grid, nodule, self.inside)
            truth[box][filled > 0.5] = 1
        for centre in _centres(grid, self.inside.array > 0, placed, rng):
            start = np.clip(np.rint(centre).astype(int) - patch // 2, 0, np.asarray(truth.shape) - patch)
            cube = tuple(slice(s, s + patch) for s in start)
            if not self.barred[cube].any():
                yield grid.array[cube].astype(np.float16), truth[cube].copy()


def _centres(grid: Volume, inside: NDArray, placed: list[Nodule], rng: np.random.Generator) -> Iterator[NDArray]:
    """Where to cut: near each nodule, and as often where a nodule might only seem to be; voxel indices of the grid."""
    bright = inside & (grid.array > 0.0)  # -300 HU in the scale of the bundle
    edge = inside & ~ndimage.binary_erosion(inside, iterations=3)
    lookalikes = [np.argwhere(where) for where in (bright, edge, inside)]
    to_index = np.linalg.inv(grid.affine)
    for number, nodule in enumerate(placed):
        yield (to_index @ [*nodule.centre, 1.0])[:3] + rng.uniform(-12, 12, 3)
        where = lookalikes[number % 3]
        yield where[rng.integers(len(where))] + rng.uniform(-8, 8, 3)


def _touches(nodule: Nodule, lesion: Volume | None) -> bool:
    """Whether a nodule would lie on the case's own lesion, or less than 3 mm from it."""
    if lesion is None:
        return False
    points = np.argwhere(lesion.array > 0) @ lesion.affine[:3, :3].T + lesion.affine[:3, 3]
    return bool(np.linalg.norm(points - nodule.centre, axis=1).min() < nodule.reach_mm + 3)


def _onto(grid: Volume, mask: Volume) -> Volume:
    """A mask resampled onto another grid."""
    matrix = np.linalg.inv(mask.affine) @ grid.affine
    soft = ndimage.affine_transform(
        (mask.array > 0).astype(np.float32), matrix[:3, :3], matrix[:3, 3], grid.spatial_shape, order=1
    )
    return grid.with_array((soft > 0.5).astype(np.uint8))
