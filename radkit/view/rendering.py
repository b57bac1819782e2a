"""The front door of the view in space, and what a volume needs before a browser can draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ViewError
from .images import scene_of
from .scene import Scene

if TYPE_CHECKING:
    from highdicom import Volume

    from .rendering_widget import Rendering

MOST = 1 << 24  # voxels, 256 each way: more is slow to draw and, on a screen, not seen
# Bone and contrast medium stand out of soft tissue that is hardly there: [HU, opacity].
CT_OPACITY = [[-2000, 0], [-200, 0], [0, 0.01], [150, 0.015], [250, 0.12], [600, 0.5], [1500, 0.8], [9999, 0.9]]


def render(
    given: object,
    mask: Volume | np.ndarray | None = None,
    *,
    title: str = "",
    names: Mapping[int, str] | Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
    mode: str = "volume",
    modality: str | None = None,
) -> Rendering:
    """Show a volume in space, seen from the front (the patient's right on the left) and turned by hand.

    The viewer is itk-vtk-viewer, itkwidgets' own, fetched once from npm's registry and sent to the browser by the
    kernel. Behind it is a still picture of three planes. More than 2**24 voxels become means of neighbours, and the
    line under the picture says so.

    Parameters
    ----------
    given, mask, title, names, modality
        As for `show`, but no image.
    window
        What is seen, (center, width). Without it: of a CT bone and contrast medium, else nearly all values.
    mode
        "volume": the more opaque the higher the value. "planes": three planes that cross in space.

    Raises
    ------
    ViewError
        If the parts do not fit together; the message says which, and what was expected.
    MissingDependency
        If anywidget is not installed.
    """
    from .rendering_widget import Rendering

    if mode not in ("volume", "planes"):
        raise ViewError(f"A rendering has the mode 'volume' or 'planes', not {mode!r}.")
    scene = scene_of(given, mask, title=title, names=names, window=window, modality=modality)
    if scene.is_flat:
        raise ViewError("A rendering needs a volume, and this is an image: radkit.view.show shows it.")
    array, labels, affine = _for_screen(scene)
    axes = affine[:3, 2::-1]  # ITK counts columns first, then rows and slices
    spacing = np.linalg.norm(axes, axis=0)
    note = f"shown as {' × '.join(map(str, array.shape))} means of neighbours" if array.size < scene.array.size else ""
    description = {
        "size": array.shape[::-1],
        "origin": affine[:3, 3].tolist(),
        "spacing": spacing.tolist(),
        "direction": (axes / spacing).ravel().tolist(),
        "kind": array.dtype.name,
        "labels": "" if labels is None else labels.dtype.name,
        "structures": [[label, scene.names[label], colour] for label, colour in scene.colours.items()],
        "title": title,
        "stand_in": scene.is_stand_in,
        "note": note,
        "mode": mode,
        **_look(scene, as_ct=scene.unit == "HU" and window is None),
    }
    return Rendering(scene, description, array, labels)


def _for_screen(scene: Scene) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Turn voxels and labels to (head, posterior, left), as few as a browser can draw, and say where they lie."""
    from highdicom import Volume

    volume = Volume(scene.array, scene.affine, coordinate_system="PATIENT")
    turned = volume.to_patient_orientation("HPL")
    array, affine, steps = turned.array, turned.affine.copy(), np.ones(3, int)
    while np.prod(array.shape // steps) > MOST:
        steps[np.argmin(steps * turned.spacing)] *= 2  # the finest axis first, so that voxels come nearer to cubes
    affine[:3, 3] += affine[:3, :3] @ (steps - 1) / 2
    affine[:3, :3] *= steps
    counts = array.shape // steps
    inside = tuple(slice(0, end) for end in counts * steps)
    whole = array.dtype.kind in "biu" and array.min() >= -32768 and array.max() <= 32767
    if steps.max() > 1:
        blocks = np.stack([counts, steps], axis=1).ravel()
        array = array[inside].reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)
    array = np.rint(array).astype(np.int16) if whole else np.nan_to_num(array).astype(np.float32)
    if scene.labels is None:
        return array, None, affine
    labels = volume.with_array(scene.labels).to_patient_orientation("HPL").array[inside]
    labels = labels[tuple(slice(step // 2, None, step) for step in steps)]
    return array, labels.astype(np.uint8 if max(scene.names) < 256 else np.uint16), affine


def _look(scene: Scene, *, as_ct: bool) -> dict[str, object]:
    """Return the colours, the range of values that they span, and the opacity along the values."""
    if as_ct:  # beside the colours of a mask, no others
        return {"colours": "Grayscale" if scene.names else "CT-Bone", "range": [-300, 500], "opacity": CT_OPACITY}
    center, width = scene.window
    low, high = center - width / 2, center + width / 2
    return {"colours": "Grayscale", "range": [low, high], "opacity": [[low, 0], [low + width / 4, 0], [high, 0.1]]}
