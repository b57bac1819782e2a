"""What people do to a study: a reader's hand that outlines the lesions, and a marker burned into the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage

_WAVE_MM = 5.0  # how far along an outline a hand stays on the same side of the edge
_MARKERS = {  # a letter over a bar, as a lead marker
    "N": ("1...1", "11..1", "1.1.1", "1..11", "1...1", "1...1", ".....", "11111"),
    "S": (".1111", "1....", "1....", ".111.", "....1", "1111.", ".....", "11111"),
}


def draw(truth: Volume, key: Sequence[int], *, reader: int, wander_mm: float) -> Volume:
    """Outline every lesion of a mask as a reader would; `key` stands for the study, so that no two drawings are alike.

    The outline lies outside (or inside) the true surface by the reader's habit, the same in every study, and a smooth
    wander; together they have the standard deviation `wander_mm`. A lesion is overlooked with the probability
    exp(-d / 2 `wander_mm`), d being the diameter of a sphere of its volume.
    """
    drawn = np.zeros(truth.spatial_shape, np.uint8)
    spacing = np.asarray(truth.spacing)
    habit = np.random.default_rng(reader).standard_normal()
    for number, box in enumerate(ndimage.find_objects(truth.array), start=1):
        rng = np.random.default_rng([*key, reader, number])
        if box is None:
            continue
        reach = np.ceil((4 * wander_mm + 1) / spacing).astype(int)
        part = tuple(slice(max(0, b.start - r), b.stop + r) for b, r in zip(box, reach, strict=True))
        inside = truth.array[part] == number
        diameter = (6 / np.pi * inside.sum() * truth.voxel_volume) ** (1 / 3)
        if rng.random() >= np.exp(-diameter / (2 * wander_mm)):
            moved = wander_mm * (0.6 * habit + 0.8 * _smooth(rng, inside.shape, spacing))
            drawn[part] = np.where((drawn[part] == 0) & (_depth(inside, spacing) > -moved), number, drawn[part])
    return truth.with_array(drawn)


def _depth(inside: NDArray, spacing: NDArray) -> NDArray:
    """Distance (mm) of each voxel to the surface, negative outside; the surface runs between the voxels."""
    within, beyond = (ndimage.distance_transform_edt(part, sampling=spacing) for part in (inside, ~inside))
    half = spacing[1:].min() / 2
    return np.where(inside, within - half, half - beyond)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], spacing: NDArray) -> NDArray:
    """Noise of standard deviation 1 that is alike over a few mm: waves of random direction, length and phase."""
    waves, phases = rng.normal(0, 1 / _WAVE_MM, (24, 3)), rng.uniform(0, 2 * np.pi, 24)
    field = np.zeros(shape)
    for wave, phase in zip(waves * spacing, phases, strict=True):
        field += np.cos(sum(w * axis for w, axis in zip(wave, np.ogrid[tuple(map(slice, shape))], strict=True)) + phase)
    return field * (2 / len(waves)) ** 0.5


def burn(image: Volume, letter: str, truth: Volume, value: int) -> Volume:
    """Burn a marker, a letter over a bar, into the first corner of every slice where no lesion lies (row, column)."""
    scale = max(1, min(image.shape[1:]) // 64)
    dots = np.pad([[dot == "1" for dot in row] for row in _MARKERS[letter]], 1)
    marker = np.where(np.kron(dots, np.ones((scale, scale))) > 0, value, image.array.min())
    near = [slice(scale, scale + size) for size in marker.shape]
    far = [slice(total - s.stop, total - s.start) for total, s in zip(image.shape[1:], near, strict=True)]
    corners = [(slice(None), row, column) for row in (near[0], far[0]) for column in (near[1], far[1])]
    array = image.array.copy()
    array[min(corners, key=lambda corner: int(np.count_nonzero(truth.array[corner])))] = marker
    return image.with_array(array)
