"""The widget between Python and `rendering.js`: a short description, and the large parts for a browser that asks."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .._assets import asset
from .._optional import optional
from ..errors import RadkitError
from .picture import draw
from .scene import Scene
from .widget import beside, small


class Rendering(optional("anywidget").AnyWidget):  # type: ignore[misc]
    """A volume in space in the browser; made by `render`."""

    _esm = Path(__file__).with_name("rendering.js")
    _css = "\n".join(Path(__file__).with_name(name).read_text("utf-8") for name in ("viewer.css", "rendering.css"))
    description = optional("traitlets").Dict().tag(sync=True)

    def __init__(self, scene: Scene, description: dict[str, object], array: np.ndarray, labels: np.ndarray | None):
        self.still = draw(scene, scene)
        self._parts, self._answered = {"voxels": array, "labels": labels}, set[float]()
        super().__init__(description={**description, "text": self.still.text, "picture": small(self.still)})
        self.on_msg(self._answer)
        self.comm._reply_subshell_for = lambda _, chosen: chosen  # widget.py says why

    def _answer(self, _: object, message: Any, __: object) -> None:
        """Send a browser the parts that it lacks; the kernel waits for none."""
        if message.get("radkit") != "parts, please" or message["ask"] in self._answered:
            return
        self._answered.add(message["ask"])
        try:
            for name in message["wanted"]:
                self.send({"ask": message["ask"], "part": name}, [zlib.compress(self._part(name), 1)])
        except RadkitError as error:
            self.send({"ask": message["ask"], "problem": str(error)})

    def _part(self, name: str) -> bytes | memoryview:
        if name == "program":
            return (asset("itk-vtk-viewer", progress=False) / "itkVtkViewer.js").read_bytes()
        return np.ascontiguousarray(self._parts[name]).data.cast("B")

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, object], dict[str, object]]:
        return beside(super()._repr_mimebundle_(**options), self.still)
