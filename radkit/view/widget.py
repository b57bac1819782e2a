"""The widget between Python and `viewer.js`: a short description of the scene, and the voxels for a browser that asks.

What a widget synchronises is saved into the notebook, so the voxels and the patient's name are no part of it. The
browser asks for them by a custom message; JupyterLab (from 4.4 on) has it answered in a subshell of the kernel, also
while later cells run. For a browser that gets no answer, since the kernel is gone, a small picture is saved.
"""

from __future__ import annotations

import base64
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .._optional import optional
from .contours import checked, filled
from .picture import Still, draw
from .scene import Scene

traitlets = optional("traitlets")
CHUNK = 4 << 20  # bytes of voxels in one message, so that the first slices are seen while the others come
INTEGERS = ("int16", "uint16", "int32")
SCRIPTS = ("voxels.js", "plane.js", "distances.js", "contours.js", "viewer.js")


class View(optional("anywidget").AnyWidget):  # type: ignore[misc]
    """A scene in the browser; made by `show`."""

    _esm = "\n".join(Path(__file__).with_name(name).read_text("utf-8") for name in SCRIPTS)
    _css = Path(__file__).with_name("viewer.css")
    description = traitlets.Dict().tag(sync=True)
    saved = traitlets.Dict(help="a picture for a browser without a kernel").tag(sync=True)
    voxel = traitlets.List(traitlets.Int(), help="slice, row and column of the crosshair").tag(sync=True)
    window = traitlets.List(traitlets.Float(), help="center and width").tag(sync=True)
    distances = traitlets.List(traitlets.Dict(), help="from and to in LPS, mm").tag(sync=True)
    contours = traitlets.List(traitlets.Dict(), help="plane, slice and points in LPS").tag(sync=True)
    zoom = traitlets.Float(1.0).tag(sync=True)
    opacity = traitlets.Float(0.4, min=0, max=1).tag(sync=True)
    banner = traitlets.Bool(True, help="whether the patient's banner is seen").tag(sync=True)
    _banner_chosen = True  # by the reader, for the views to come

    def __init__(self, scene: Scene, *, banner: bool | None):
        self._scene, self._answered = scene, set[float]()
        super().__init__(
            description=_describe(scene),
            voxel=list(scene.voxel),
            window=list(scene.window),
            contours=scene.contours,
            zoom=scene.zoom,
            opacity=scene.opacity,
            banner=View._banner_chosen if banner is None else banner,
        )
        self.observe(lambda change: setattr(View, "_banner_chosen", change["new"]), "banner")
        self.on_msg(self._answer)
        # JupyterLab names the subshell that is to handle a message; ipykernel 7.4 overrules it and has the browser wait
        # for the main shell, that is, for the end of "Run All". Here the browser's choice stands.
        self.comm._reply_subshell_for = lambda _, chosen: chosen

    @property
    def point(self) -> tuple[float, ...]:
        """The crosshair in LPS, in mm; in an image, its frame, row and column."""
        return self._scene.point(self.voxel)

    @property
    def drawn(self) -> Any:
        """What the contours enclose, uint8: a mask on the volume or, of an image, an array (frame, row, column)."""
        mask, volume = filled(self.contours, self._scene), self._scene.volume
        return mask if volume is None else volume.with_array(mask)

    @traitlets.validate("contours")
    def _check(self, proposal: dict[str, Any]) -> list[dict[str, Any]]:
        return checked(proposal["value"], self._scene)

    def still(self, *, banner: bool = False) -> Still:
        """Draw what is seen as a picture, with the patient's banner if asked."""
        return draw(self._scene, self, banner=banner)

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
            message = {"radkit": "voxels", "slice": k, "slices": len(slices), "banner": self._scene.banner}
            self.send(message, [slices.data.cast("B")])
            if k == starts[0] and self._scene.labels is not None:
                labels = np.ascontiguousarray(self._scene.labels, self.description["labels"])
                self.send({"radkit": "labels"}, [zlib.compress(labels.data, 1)])

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, object], dict[str, object]]:
        picture = self.still()
        self.saved = {"picture": small(picture), "text": picture.text}
        return beside(super()._repr_mimebundle_(**options), picture)


def beside(widget: tuple[dict[str, object], dict[str, object]], picture: Still) -> tuple[dict, dict]:
    """Return what a notebook keeps of a widget, and its picture."""
    (data, metadata), png = widget, base64.b64encode(picture.png()).decode()
    data = {**data, "image/png": png, "text/plain": picture.text}
    return data, {**metadata, "image/png": {"alt": picture.text}}


def small(picture: Still) -> str:
    """Return a picture as the address of a JPEG, of some 40 kB."""
    image, file = picture.image.copy(), io.BytesIO()
    image.thumbnail((800, 480))
    image.save(file, "jpeg", quality=50)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _describe(scene: Scene) -> dict[str, object]:
    """Return what the browser needs to know of a scene, without its voxels and without the patient's name."""
    as_it_is = ("spacing", "scale", "inverted", "levels", "reach", "padding", "frame_ms", "title", "unit")
    return {name: getattr(scene, name) for name in as_it_is} | {
        "shape": list(scene.array.shape[:3]),
        "affine": scene.affine.tolist(),
        "kind": _kind(scene.array),
        "colour": not scene.presets,
        "has_banner": bool(scene.banner),
        "labels": "" if scene.labels is None else ("uint8" if scene.labels.max() < 256 else "uint16"),
        "planes": [vars(plane) for plane in scene.planes],
        "structures": [[label, scene.names[label], colour] for label, colour in scene.colours.items()],
        "presets": [[name, *preset] for name, preset in scene.presets.items()],
        "stand_in": scene.is_stand_in,
    }


def _kind(array: np.ndarray) -> str:
    """Return the type in which the voxels travel without a change: 16 bits where they fit, else 32-bit floats."""
    if array.dtype == np.uint8:
        return "uint8"
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and not all(np.array_equal(part, np.rint(part)) for part in array):  # NaN is no number
        return "float32"
    fits = [kind for kind in INTEGERS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return fits[0] if fits else "float32"
