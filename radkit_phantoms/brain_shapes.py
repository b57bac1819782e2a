"""A made-up average brain, for where the real atlas cannot be had: folded gray matter, ventricles, nuclei."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIGNAL = (60.0, 165.0, 222.0)  # of fluid, gray and white matter, T1


def draw_maps(shape: tuple[int, int, int], corner: tuple[float, float, float]) -> tuple[NDArray, NDArray, NDArray]:
    """Draw T1 and the probability of gray and of white matter (0 to 255), uint8, in voxels of 1 mm.

    ``shape`` is (slice, row, column), ``corner`` the centre of the first voxel (x, y, z), LPS mm.
    """
    maps = np.zeros((3, *shape), np.uint8)
    x, y = corner[0] + np.arange(shape[2]), corner[1] + np.arange(shape[1])[:, None]
    for k in range(shape[0]):
        maps[:, k] = _slice(np.abs(x), y, corner[2] + k)
    return maps[0], maps[1], maps[2]


def _oval(x: NDArray, y: NDArray, z: float, middle: tuple[float, ...], half: tuple[float, ...]) -> NDArray:
    """How deep a place lies in an ellipsoid, mm, roughly; negative outside."""
    a, b, c = ((place - m) / h for place, m, h in zip((x, y, np.asarray(z)), middle, half, strict=True))
    return np.asarray((1 - np.sqrt(a * a + b * b + c * c)) * min(half))


def _folded(depth: NDArray, fold: NDArray, reach: float | NDArray) -> NDArray:
    """How deep a place lies below the surface if furrows, `fold` mm away, run ``reach`` mm into the depth."""
    return np.minimum(depth, np.sqrt(fold**2 + np.maximum(0, depth - reach) ** 2) - 1)


def _slice(x: NDArray, y: NDArray, z: float) -> NDArray:
    """Draw one slice; left and right are alike, ``x`` counts from the midline."""
    cerebrum = _cerebrum(x, y, z)
    round_about = np.arctan2(y - 17, x + 1.0)
    furrow = np.sin(11 * round_about + 1.4 * np.sin(z / 9 + 3 * round_about))
    cerebrum = _folded(cerebrum, 6 * np.abs(furrow), 14 + 5 * np.sin(5 * round_about + z / 7))
    cerebrum = np.minimum(cerebrum, np.where((z > 24) | (y < -30) | (y > 62), x - 1.5, 9))  # the falx
    hind = _oval(x, y, z, (0, 62, -40), (52, 30, 25))
    cerebellum = _folded(hind, 2.5 * np.abs(np.sin(z / 2.4 + y / 9)) + 1, 11)
    stem = _oval(x, y, z, (0, 28, -40), (14, 14, 40)) + 3
    tissue = np.maximum(np.maximum(cerebrum, cerebellum), stem)
    nuclei = [((12, 18, 6), (9, 15, 9)), ((26, 4, 4), (7, 19, 11)), ((15, -14, 8), (6, 10, 9))]
    nucleus = np.max([_oval(x, y, z, *one) for one in nuclei], axis=0)
    cavities = [((9, 4, 19), (6, 32, 9)), ((16, 40, 14), (8, 20, 12)), ((0, 12, 6), (5, 12, 15))]
    ventricle = np.max([_oval(x, y, z, *one) for one in cavities], axis=0)
    tissue = np.minimum(tissue, -ventricle)
    ribbon = np.where(ventricle > -4, 0, np.clip(4.5 - tissue, 0, 1))  # a ventricle has none around it
    gray = np.clip(tissue + 0.5, 0, 1) * np.maximum(ribbon, np.clip(nucleus + 0.5, 0, 1))
    white = np.clip(tissue + 0.5, 0, 1) - gray
    brain = np.clip(1.5 + np.maximum.reduce([tissue, ventricle, _cerebrum(x, y, z), hind]), 0, 1)
    t1 = brain * (SIGNAL[0] * (1 - gray - white) + SIGNAL[1] * gray + SIGNAL[2] * white)
    return np.rint([t1, 255 * gray, 255 * white])


def _cerebrum(x: NDArray, y: NDArray, z: float) -> NDArray:
    """How deep a place lies in the cerebrum with its furrows filled; its base is flat."""
    return np.minimum(_oval(x, y, z, (0, 17, 8), (72, 91, 74)), _oval(x, y, z, (0, 0, 90), (300, 300, 122)))
