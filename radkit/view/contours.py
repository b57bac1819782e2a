"""Contours, drawn around something in one slice of a plane: checked, and filled to a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ViewError
from .scene import Scene


def checked(given: Any, scene: Scene) -> list[dict[str, Any]]:
    """Return contours in the form in which they travel to the browser; refuse one that does not lie in the scene."""
    found, through = [], {plane.name: plane.through[0] for plane in scene.planes}
    if not isinstance(given, Sequence):
        raise ViewError(f"Expected a list of contours, got a {type(given).__name__}. For none, leave contours out.")
    for number, contour in enumerate(given, start=1):
        try:
            points, at, axis = np.array(contour["points"], float), int(contour["slice"]), through[contour["plane"]]
            off = abs(scene.places(points)[:, axis] - at).max()
            if not (3 <= len(points) <= 10_000 and 0 <= at < scene.array.shape[axis] and off < 0.51):
                raise ValueError(f"{len(points)} points up to {off:.2f} slices from slice {at}")
        except (TypeError, ValueError, LookupError) as error:
            raise ViewError(
                f"Contour {number} does not belong here. Expected 'plane': {' or '.join(through)}; 'slice': its index "
                f"in the array; 'points': 3 to 10,000 of (x, y, z), LPS in mm, in that slice. Came: {error}."
            ) from None
        found.append({**contour, "slice": at, "points": points.tolist()})
    return found


def filled(contours: Sequence[Mapping[str, Any]], scene: Scene) -> np.ndarray:
    """Return 1 for each voxel (slice, row, column) whose centre lies in a contour that bears no reader's name, else 0.

    In a slice the even-odd rule holds, so that a contour inside another cuts a hole; planes that cross are united.
    """
    mask, sections = np.zeros(scene.array.shape[:3], np.uint8), dict[tuple[int, int], np.ndarray]()
    for contour in (one for one in contours if not one.get("name")):
        axis = next(plane.through[0] for plane in scene.planes if plane.name == contour["plane"])
        outline = np.delete(scene.places(contour["points"]), axis, axis=1)
        (y0, x0), (y1, x1) = outline.T, np.roll(outline, -1, axis=0).T
        section = sections.setdefault((axis, contour["slice"]), np.zeros(np.delete(mask.shape, axis), bool))
        # Inside is where a line from the left has crossed it an odd number of times.
        for row, voxels in enumerate(section):
            on = (y0 <= row) != (y1 <= row)
            crossed = np.sort(x0[on] + (row - y0[on]) / (y1[on] - y0[on]) * (x1[on] - x0[on]))
            voxels ^= np.searchsorted(crossed, np.arange(len(voxels))) % 2 == 1
    for (axis, at), section in sections.items():
        np.moveaxis(mask, axis, 0)[at] |= section
    return mask
