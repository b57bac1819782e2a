"""Measure the real nodule of the course's patient by hand: seed, threshold, and limits that a reader can check.

Prints the tables of ``data/bundles/lung_nodule/docs/reference_measurement.md``. No network and no lung mask is used.
"""

from __future__ import annotations

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage

from radkit.data import fetch, read

SEED = (90, 364, 318)  # slice, row, column: the middle of the nodule by eye
LIMITS = (slice(84, 97), slice(340, 400), slice(290, 348))  # drawn by eye, clear of everything that does not touch it
FREE = (86, 95)  # the nearest slices in which the nodule does not reach the pleura
OPENING_MM = 3.0  # half the width of what is cut off: vessels and strands up to 6 mm across


def half_way(volume: Volume) -> tuple[float, float, float]:
    """The threshold half-way between nodule and lung, and these two: medians near the seed and of the air, HU."""
    k, i, j = SEED
    nodule = float(np.median(volume.array[k - 1 : k + 2, i - 5 : i + 6, j - 5 : j + 6]))
    region = volume.array[LIMITS]
    lung = float(np.median(region[region < -600]))
    return (nodule + lung) / 2, nodule, lung


def pleura(volume: Volume, threshold: float) -> NDArray:
    """Row of the pleura for each slice and column of LIMITS, drawn straight between the two FREE slices."""
    slices, rows, columns = LIMITS
    ends = []
    for k in FREE:
        air = volume.array[k, rows, columns] < threshold
        ends.append(rows.stop - 1 - np.argmax(air[::-1], axis=0))
    where = (np.arange(slices.start, slices.stop) - FREE[0]) / (FREE[1] - FREE[0])
    return ends[0] + np.clip(where, 0, 1)[:, None] * (ends[1] - ends[0])


def reference(volume: Volume, *, threshold: float | None = None, opening_mm: float = OPENING_MM) -> Volume:
    """Segment the nodule: above the threshold, in front of the pleura, vessels cut, the part that holds the seed."""
    threshold = half_way(volume)[0] if threshold is None else threshold
    spacing = np.asarray(volume.spacing)
    rows = np.arange(LIMITS[1].start, LIMITS[1].stop)[None, :, None]
    solid = (volume.array[LIMITS] > threshold) & (rows <= pleura(volume, threshold)[:, None, :])
    core = ndimage.distance_transform_edt(solid, sampling=spacing) >= opening_mm
    parts, _ = ndimage.label(core)
    seed = tuple(s - limit.start for s, limit in zip(SEED, LIMITS, strict=True))
    core = parts == parts[seed]
    grown = ndimage.distance_transform_edt(~core, sampling=spacing) <= opening_mm + spacing.max() / 2
    mask = np.zeros(volume.spatial_shape, np.uint8)
    mask[LIMITS] = grown & solid
    return volume.with_array(mask)


def main() -> None:
    volume = read(fetch("chest-ct"))
    millilitres = float(np.prod(volume.spacing)) / 1000
    chosen, nodule, lung = half_way(volume)
    print(f"nodule {nodule:.0f} HU, lung {lung:.0f} HU, half-way {chosen:.0f} HU")
    print(
        f"reference: {reference(volume).array.sum() * millilitres:.2f} ml\n\n| threshold, HU | volume, ml |\n|---|---|"
    )
    for threshold in (-600, -500, chosen, -300, -200):
        print(f"| {threshold:.0f} | {reference(volume, threshold=threshold).array.sum() * millilitres:.2f} |")
    print("\n| vessels cut up to, mm across | volume, ml |\n|---|---|")
    for radius in (1.0, 2.0, OPENING_MM, 4.0, 5.0):
        print(f"| {2 * radius:.0f} | {reference(volume, opening_mm=radius).array.sum() * millilitres:.2f} |")


if __name__ == "__main__":
    main()
