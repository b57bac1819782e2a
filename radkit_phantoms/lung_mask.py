"""Where the lungs are, from the CT alone: a threshold and mathematical morphology, no labels and no network."""

from __future__ import annotations

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage

AIR_HU = -400  # half-way between aerated lung (about -850 HU) and soft tissue (about 50 HU)
CLOSING_MM = 12.0  # what bulges into a lung from its surface over less than twice this is counted as lung


def lungs(volume: Volume) -> Volume:
    """Segment the lungs, with the nodules and vessels in them, those at the pleura too.

    Air that does not reach the sides of the image is lung, airway or bowel; the lungs are its largest part, or its two
    largest. They are closed with a ball of 12 mm, so that a nodule whose base on the pleura is narrower than about
    24 mm stays inside, and enclosed holes are filled.

    Parameters
    ----------
    volume : highdicom.Volume
        Chest CT in HU; array (slice, row, column).

    Returns
    -------
    highdicom.Volume
        uint8 mask on the same grid, 1 in the lungs; all 0 where there is no lung.
    """
    step = [max(1, round(2.5 / s)) for s in volume.spacing]  # 2 to 3 mm is fine enough, and quick
    coarse = volume.array[tuple(slice(n // 2, None, n) for n in step)]
    spacing = np.asarray(volume.spacing) * step
    mask = ndimage.binary_fill_holes(_close(_largest_air(coarse), spacing))
    # The mean of neighbours takes the coarse steps off the edge. It is a product of matrices, one an axis, of whole
    # numbers: how many of the neighbours of each fine place lie in each coarse voxel.
    counts = [
        np.rint(s * ndimage.uniform_filter1d(np.eye(m)[np.minimum(np.arange(n) // s, m - 1)], s, axis=0))
        for n, s, m in zip(volume.spatial_shape, step, mask.shape, strict=True)
    ]
    slices, rows, columns = (count.astype(np.float32) for count in counts)
    planes = np.tensordot(slices, mask.astype(np.float32), 1)
    fine = [(rows @ plane @ columns.T > 0.5 * np.prod(step)).astype(np.uint8) for plane in planes]
    return volume.with_array(np.stack(fine))


def _largest_air(hu: NDArray) -> NDArray:
    """The one or two largest regions of air that do not touch the sides of the image."""
    air, count = ndimage.label(hu < AIR_HU)
    sides = [air[:, 0], air[:, -1], air[:, :, 0], air[:, :, -1]]
    sizes = np.bincount(air.ravel(), minlength=count + 1)
    sizes[np.unique(np.concatenate([side.ravel() for side in sides]))] = 0
    sizes[0] = 0
    first, second = np.argsort(sizes)[::-1][:2] if count > 1 else (count, 0)
    keep = [n for n in (first, second) if sizes[n] > 0.1 * sizes[first]]  # a second lung, not a gas-filled stomach
    return np.isin(air, keep)


def _close(mask: NDArray, spacing: NDArray) -> NDArray:
    """Closing with a ball of ``CLOSING_MM``, by distances: the cost does not grow with the ball."""
    margin = np.ceil(CLOSING_MM / spacing).astype(int) + 1
    if not mask.any():
        return mask
    padded = np.pad(mask, [(m, m) for m in margin])
    grown = ndimage.distance_transform_edt(~padded, sampling=spacing) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(grown, sampling=spacing) > CLOSING_MM
    inner = tuple(slice(m, -m) for m in margin)
    return closed[inner] | mask
