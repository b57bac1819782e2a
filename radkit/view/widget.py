"""The widget between Python and `viewer.js`: a short description of the scene, and the voxels for a browser that asks.

What a widget synchronises is saved into the notebook, so the voxels are no part of it. The browser asks for them by
a custom message; JupyterLab (from 4.4 on) has it answered in a subshell of the kernel, also while later cells run.
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .._optional import optional
from .picture import Still, draw
from .scene import Scene

traitlets = optional("traitlets")
CHUNK = 4 << 20  # bytes of voxels in one message, so that the first slices are seen while the others come


class View(optional("anywidget").AnyWidget):  # type: ignore[misc]
    """A scene in the browser; made by `show`."""

    _esm = "\n".join(Path(__file__).with_name(name).read_text("utf-8") for name in ("plane.js", "viewer.js"))
    _css = Path(__file__).with_name("viewer.css")
    description = traitlets.Dict().tag(sync=True)
    voxel = traitlets.List(traitlets.Int(), help="slice, row and column of the crosshair").tag(sync=True)
    window = traitlets.List(traitlets.Float(), help="center and width").tag(sync=True)
    zoom = traitlets.Float(1.0).tag(sync=True)
    opacity = traitlets.Float(0.4, min=0, max=1).tag(sync=True)

    def __init__(self, scene: Scene, *, zoom: float, opacity: float):
        self._scene, self._answered = scene, set[float]()
        super().__init__(
            description=_describe(scene),
            voxel=list(scene.voxel),
            window=list(scene.window),
            zoom=zoom,
            opacity=opacity,
        )
        self.on_msg(self._answer)
        # JupyterLab names the subshell that is to handle a message; ipykernel 7.4 overrules it and has the browser wait
        # for the main shell, that is, for the end of "Run All". Here the browser's choice stands.
        self.comm._reply_subshell_for = lambda _, chosen: chosen

    @property
    def point(self) -> tuple[float, float, float]:
        """The crosshair in LPS, in mm."""
        return self._scene.point(self.voxel)

    def still(self) -> Still:
        """Draw the planes as they stand, as a picture."""
        return draw(self._scene, self.voxel, self.window, zoom=self.zoom, opacity=self.opacity)

    def _answer(self, _: object, message: Any, __: object) -> None:
        """Send the voxels and the mask to a browser that has asked: the slices at the crosshair first."""
        if message.get("radkit") != "voxels, please" or message["ask"] in self._answered:
            return
        self._answered.add(message["ask"])
        array, kind = self._scene.array, self.description["kind"]
        per_chunk = max(1, CHUNK // (array[0].size * np.dtype(kind).itemsize))
        starts = sorted(range(0, len(array), per_chunk), key=lambda k: abs(k + per_chunk // 2 - self.voxel[0]))
        for k in starts:
            slices = np.ascontiguousarray(array[k : k + per_chunk], kind)
            self.send({"radkit": "voxels", "slice": k, "slices": len(slices)}, [slices.data.cast("B")])
            if k == starts[0] and self._scene.labels is not None:
                labels = np.ascontiguousarray(self._scene.labels, self.description["labels"])
                self.send({"radkit": "labels"}, [zlib.compress(labels.data, 1)])

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, object], dict[str, object]]:
        data, metadata = super()._repr_mimebundle_(**options)
        picture = self.still()
        data = {**data, "image/png": base64.b64encode(picture.png()).decode(), "text/plain": picture.text}
        return data, {**metadata, "image/png": {"alt": picture.text}}


def _describe(scene: Scene) -> dict[str, object]:
    """Return what the browser needs to know of a scene, without its voxels."""
    return {
        "shape": list(scene.array.shape),
        "affine": scene.affine.tolist(),
        "spacing": list(scene.spacing),
        "kind": _kind(scene.array),
        "labels": "" if scene.labels is None else ("uint8" if max(scene.names) < 256 else "uint16"),
        "planes": [vars(plane) for plane in scene.planes],
        "structures": [[label, scene.names[label], colour] for label, colour in scene.colours.items()],
        "presets": [[name, *preset] for name, preset in scene.presets.items()],
        "title": scene.title,
        "stand_in": scene.is_stand_in,
        "unit": scene.unit,
    }


def _kind(array: np.ndarray) -> str:
    """Return the type in which the voxels travel without a change: 16 bits where they fit, else 32-bit floats."""
    low, high = array.min(), array.max()
    whole = array.dtype.kind != "f" or bool(np.isfinite(low + high) and np.array_equal(array, np.rint(array)))
    return "int16" if whole and low >= -32768 and high <= 32767 else "float32"
