"""The viewer's front door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .images import scene_of

if TYPE_CHECKING:
    import numpy as np
    from highdicom import Volume

    from .widget import View


def show(
    given: object,
    mask: Volume | np.ndarray | None = None,
    *,
    title: str = "",
    names: Mapping[int, str] | Sequence[str] | None = None,
    preset: str | None = None,
    window: tuple[float, float] | None = None,
    at: Sequence[float] | None = None,
    zoom: float = 1.0,
    opacity: float = 0.4,
    modality: str | None = None,
    banner: bool | None = None,
    contours: Sequence[Mapping[str, Any]] = (),
) -> View:
    """Show a volume in three planes that follow one crosshair, or an image: scroll, window, probe, measure.

    Every orientation of the array is shown in the radiological convention: the patient's right on the left of the
    screen, anterior at the top of the axial plane, the head at the top of the coronal and sagittal ones, the face to
    the left in the sagittal one. An oblique volume is shown along its own axes, and its letters say so ("LH").

    Parameters
    ----------
    given
        A volume: one number per voxel (slice, row, column), with its affine to LPS in mm. Or an image of
        `radkit.dicom.read_image`; it is shown as its object has it: MONOCHROME1 inverted, padding black, its overlays
        as a mask, and mm only where the object knows them. Or what is first to be read into one of the two: a path, a
        list of files, or a series of `radkit.dicom.scan`.
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
        The point to open at, LPS in mm; in an image, frame, row and column. Without it: the middle or, with a mask, the
        first structure where its axial section is largest.
    zoom
        How many times larger than the whole plane, about the crosshair.
    opacity
        Of the mask, from 0 to 1.
    modality
        "CT", which a bare volume is taken for, has windows and values in HU; any other gets windows from its values.
    banner
        Whether to show name, ID, study date and series description, if there is a header to take them from. Without it:
        as the reader last chose, and at first, yes. What the browser shows of it is never saved in the notebook.
    contours
        What ``view.contours`` begins with; one with a ``"name"`` is another reader's, and not in ``view.drawn``.


    Returns
    -------
    View
        A widget. ``view.voxel`` (slice, row, column), ``view.point`` (LPS in mm), ``view.window`` (center, width) and
        ``view.distances`` follow what is done in the browser, and steer it when they are set; a function is told by
        ``view.observe(function, names=["voxel", "window", "distances"])``. ``view.distances`` is a list of ``{"from":
        LPS, "to": LPS, "mm": length}``; an image has frame, row and column for LPS and, where nobody knows its mm,
        ``"mm": None`` and ``"pixels"``. ``view.contours`` is a list of ``{"plane": "axial", "slice": index in the
        array, "points": [LPS, ...]}``; ``view.drawn`` is their mask, 1 where the centre of a voxel lies inside: a
        Volume or, of an image, an array (frame, row, column), uint8. ``view.still()`` draws what it shows.

    Raises
    ------
    DicomError
        If files are given that cannot be read.
    ViewError
        If the parts do not fit together; the message says which, and what was expected.
    MissingDependency
        If anywidget is not installed.
    """
    from .widget import View

    options: dict[str, Any] = {"names": names, "preset": preset, "window": window, "at": at, "modality": modality}
    options |= {"contours": contours, "title": title, "zoom": zoom, "opacity": opacity}
    return View(scene_of(given, mask, **options), banner=banner)
