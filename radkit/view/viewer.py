"""The viewer's front door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .scene import build

if TYPE_CHECKING:
    import numpy as np
    from highdicom import Volume

    from .widget import View


def show(
    volume: Volume,
    mask: Volume | np.ndarray | None = None,
    *,
    title: str = "",
    names: Mapping[int, str] | Sequence[str] | None = None,
    preset: str | None = None,
    window: tuple[float, float] | None = None,
    at: Sequence[float] | None = None,
    zoom: float = 1.0,
    opacity: float = 0.4,
    modality: str = "CT",
) -> View:
    """Show a volume in three planes that follow one crosshair: scroll, window, probe; with a still picture behind.

    Every orientation of the array is shown in the radiological convention: the patient's right on the left of the
    screen, anterior at the top of the axial plane, the head at the top of the coronal and sagittal ones, the face to
    the left in the sagittal one. An oblique volume is shown along its own axes, and its letters say so ("LH").

    Parameters
    ----------
    volume
        One number per voxel (slice, row, column), with its affine to LPS in mm.
    mask
        Whole numbers on the same grid; 0 is the background.
    title
        What is written above the planes. One that says ``STAND-IN`` is set off, so that generated data is never taken
        for a patient's.
    names
        The name of each label: ``{1: "nodule"}``, or ``["nodule", ...]`` for the labels 1, 2, ...
    preset
        The name of a window; for CT: soft tissue, lung, bone, liver, brain.
    window
        Any other window, as (center, width).
    at
        The point to open at, LPS in mm. Without it: the middle of the volume or, with a mask, the first structure where
        its axial section is largest.
    zoom
        How many times larger than the whole plane, about the crosshair.
    opacity
        Of the mask, from 0 to 1.
    modality
        "CT" has windows and values in HU; any other gets windows taken from its own values.

    Returns
    -------
    View
        A widget. ``view.voxel`` (slice, row, column), ``view.point`` (LPS in mm) and ``view.window`` (center, width)
        follow what is done in the browser, and steer it when they are set; ``view.still()`` draws what it shows.

    Raises
    ------
    ViewError
        If the parts do not fit together; the message says which, and what was expected.
    MissingDependency
        If anywidget is not installed.
    """
    from .widget import View

    scene = build(volume, mask, title=title, names=names, preset=preset, window=window, at=at, modality=modality)
    return View(scene, zoom=zoom, opacity=opacity)
