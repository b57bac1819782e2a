"""The still picture of a scene: what papermill, an exported page, a printer and a reader without a browser get."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optional import optional
from .images import scene_of
from .scene import Plane, Scene

if TYPE_CHECKING:
    from highdicom import Volume
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    from .widget import View

WIDTH, HIGHEST, MARGIN, GAP, TITLE, LINE = 1200, 640, 16, 10, 44, 30  # pixels
BACKGROUND, PANEL, TEXT, WARNING = "#10141a", "#222b36", "#f2f5f8", "#F0E442"
OWN, READER = "#56B4E9", "#CC79A7"  # contours: of whoever draws, and of another reader
MOST_NAMES = 12


@dataclass(frozen=True)
class Still:
    """A picture and the sentence that says what it shows.

    A notebook displays it; ``picture.image`` is a PIL image; ``picture.save(path)`` writes a PNG that holds the
    sentence as its description.
    """

    image: Image
    text: str

    def png(self) -> bytes:
        """Return the picture as a PNG file, with the sentence as its description."""
        info = optional("PIL.PngImagePlugin").PngInfo()
        info.add_itxt("Description", self.text)
        file = io.BytesIO()
        self.image.save(file, "png", pnginfo=info, compress_level=4)
        return file.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the picture as a PNG file and return its path."""
        Path(path).write_bytes(self.png())
        return Path(path)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, object], dict[str, object]]:
        return {"image/png": self.png(), "text/plain": self.text}, {"image/png": {"alt": self.text}}


def still(given: object, mask: Volume | np.ndarray | None = None, *, banner: bool = False, **options: Any) -> Still:
    """Draw what `show` shows as a picture, 1200 pixels wide: three planes through one point, or one image.

    The options are those of `show`; only the patient's banner has to be asked for, since a picture is passed on.

    Raises
    ------
    DicomError, ViewError
        As `show` does.
    """
    scene = scene_of(given, mask, **options)
    return draw(scene, scene, banner=banner)


def draw(scene: Scene, seen: Scene | View, *, banner: bool = False) -> Still:
    """Draw a scene as it is seen: at a voxel (slice, row, column), through a window, with what was measured."""
    image_module, draw_module = optional("PIL.Image"), optional("PIL.ImageDraw")
    scale, widths, height = _layout(scene)
    heads = [(scene.title, *((WARNING, "#000000") if scene.is_stand_in else (PANEL, TEXT)))] * bool(scene.title)
    heads += [(" · ".join(scene.banner), PANEL, TEXT)] * bool(banner and scene.banner)
    top = MARGIN + TITLE * len(heads)
    picture = image_module.new("RGB", (WIDTH, top + height + MARGIN + LINE * (MOST_NAMES + 3)), BACKGROUND)
    pen = draw_module.Draw(picture)
    for number, (said, back, ink) in enumerate(heads):
        text = _printable(said)
        pen.rectangle((0, TITLE * number, WIDTH, TITLE * (number + 1)), fill=back)
        pen.text((MARGIN, TITLE * number + TITLE // 2), text, font=_font(21, bold=True), fill=ink, anchor="lm")
    left = (WIDTH - sum(widths) - GAP * (len(widths) - 1)) // 2
    for plane, width in zip(scene.planes, widths, strict=True):
        picture.paste(_Panel(scene, plane, seen, scale, (width, height)).draw(), (left, top))
        left += width + GAP
    bottom = _legend(pen, top + height + MARGIN, scene, seen)
    return Still(picture.crop((0, 0, WIDTH, int(bottom))), scene.sentence(seen))


def _layout(scene: Scene) -> tuple[float, list[int], int]:
    """Return pixels per mm, the width of each panel and the height of them all, in pixels."""
    shape, spacing = scene.array.shape, scene.spacing
    extents = [[shape[axis] * spacing[axis] for axis in (p.across[0], p.down[0])] for p in scene.planes]
    wide, high = sum(x for x, _ in extents), max(y for _, y in extents)
    scale = min((WIDTH - 2 * MARGIN - GAP * (len(extents) - 1)) / wide, HIGHEST / high)
    return scale, [max(int(x * scale), 150) for x, _ in extents], max(int(high * scale), 150)


class _Panel:
    """One plane on its rectangle of the picture: pixels, overlay, crosshair, letters and scale bar."""

    def __init__(self, scene: Scene, plane: Plane, seen: Scene | View, scale: float, size: tuple[int, int]):
        self.scene, self.plane, self.seen, self.size = scene, plane, seen, size
        self.scale = scale * seen.zoom  # pixels per mm
        column, row, self.slice = plane.position(scene.array.shape, seen.voxel)
        axes = [plane.across[0], plane.down[0]]
        count, mm = np.array(scene.array.shape)[axes], np.array(scene.spacing)[axes]
        # What of the plane is seen, in voxels, and the pixels it is drawn on.
        part = np.minimum(count, np.array(size) / (self.scale * mm))
        start = np.clip(np.array((column, row)) + 0.5 - part / 2, 0, count - part)
        self.box = (*start.tolist(), *(start + part).tolist())
        self.shape = tuple(np.maximum(1, np.rint(part * mm * self.scale)).astype(int).tolist())
        self.corner = ((size[0] - self.shape[0]) // 2, (size[1] - self.shape[1]) // 2)

    def draw(self) -> Image:
        image_module, draw_module = optional("PIL.Image"), optional("PIL.ImageDraw")
        panel = image_module.new("RGB", self.size, "#000000")
        panel.paste(image_module.fromarray(self._overlay(self._image())), self.corner)
        pen = draw_module.Draw(panel, "RGBA")
        self._annotate(pen)
        for distance in self.seen.distances:
            self._measure(pen, distance)
        self._outline(pen)
        return panel

    def _image(self) -> np.ndarray:
        """Return the plane at the size it is drawn, as RGB; a gray one through its window (PS3.3 C.11.2.1.3.2)."""
        image_module = optional("PIL.Image")
        image = self.plane.cut(self.scene.array, self.seen.voxel)
        if self.scene.presets:
            (center, width), (start, end) = self.seen.window, self.scene.reach
            levels = np.array(self.scene.levels, np.uint8)
            levels = 255 - levels if self.scene.inverted else levels
            low, steps = center + start * width, len(levels) / ((end - start) * width)
            parts = np.array_split(image, 1 + image.size // (1 << 22))  # since numbers take more room than pixels
            places = (np.nan_to_num((part.astype(np.float32) - low) * steps) for part in parts)
            image = np.concatenate([levels[np.clip(at, 0, len(levels) - 1).astype(int)] for at in places])
        filtered = image_module.fromarray(image).resize(self.shape, image_module.Resampling.BICUBIC, box=self.box)
        return np.array(filtered.convert("RGB"))

    def _overlay(self, picture: np.ndarray) -> np.ndarray:
        if self.scene.labels is None:
            return picture
        image_module, opacity = optional("PIL.Image"), self.seen.opacity
        cut = image_module.fromarray(self.plane.cut(self.scene.labels, self.seen.voxel).astype(np.int32))
        labels = np.asarray(cut.resize(self.shape, image_module.Resampling.NEAREST, box=self.box))
        edge = np.zeros(labels.shape, bool)
        for axis, shift in ((0, 1), (0, 2), (0, -1), (0, -2), (1, 1), (1, 2), (1, -1), (1, -2)):
            edge |= labels != np.roll(labels, shift, axis)
        picture[(labels == self.scene.padding) & (labels > 0)] = 0
        for label, colour in self.scene.colours.items() if opacity else ():
            here = labels == label
            for part, strength in ((here & ~edge, opacity), (here & edge, 1.0)):
                picture[part] = picture[part] * (1 - strength) + _rgb(colour) * strength
        return picture

    def _annotate(self, pen: ImageDraw) -> None:
        width, height = self.size
        x, y = self._on_panel(self.seen.voxel)
        for line in ((0, y, x - 14, y), (x + 14, y, width, y), (x, 0, x, y - 14), (x, y + 14, x, height)):
            if line[2] >= line[0] and line[3] >= line[1]:
                pen.line(line, fill=(0, 0, 0, 70), width=3)
                pen.line(line, fill=(255, 255, 255, 150), width=1)
        count = self.scene.array.shape[self.plane.through[0]]
        name = "frame " if self.scene.is_flat else f"{self.plane.name} "
        if count > 1 or not self.scene.is_flat:  # in a narrow place the name would run into the letter
            _padded(pen, (8, 8), f"{name if width > 300 else ''}{self.slice + 1}/{count}", "la", 17)
        spots = ((8, height / 2), (width - 8, height / 2), (width / 2, 8), (width / 2, height - 8))
        for spot, letter, anchor in zip(spots, self.plane.letters, ("lm", "rm", "ma", "md"), strict=True):
            if letter:
                _padded(pen, spot, letter, anchor, 24, bold=True)
        self._scale_bar(pen)

    def _on_panel(self, voxel: Sequence[float]) -> tuple[float, float]:
        """Return where a voxel, or a place between voxels, is drawn."""
        column, row, _ = self.plane.position(self.scene.array.shape, voxel)
        x = self.corner[0] + (column + 0.5 - self.box[0]) * self.shape[0] / (self.box[2] - self.box[0])
        return x, self.corner[1] + (row + 0.5 - self.box[1]) * self.shape[1] / (self.box[3] - self.box[1])

    def _measure(self, pen: ImageDraw, distance: Mapping[str, Any]) -> None:
        """Draw a distance that lies in this slice, with both its ends."""
        axis, ends = self.plane.through[0], self.scene.places([distance["from"], distance["to"]]).tolist()
        if any(abs(end[axis] - self.seen.voxel[axis]) > 0.5 for end in ends):
            return
        (x0, y0), (x, y) = map(self._on_panel, ends)
        for colour, thick in (("#000000", 6), (WARNING, 2)):
            pen.line((x0, y0, x, y), fill=colour, width=thick)
            for a, b in ((x0, y0), (x, y)):
                pen.ellipse((a - 7, b - 7, a + 7, b + 7), outline=colour, width=thick)
        text, right = self.scene.length_text(distance), x >= x0
        room = (self.size[0] - x if right else x) - _font(17).getlength(text) - 22  # beyond the end
        spot = (x + (14 if right else -14) * (room > 0), y + (26 if y >= y0 else -26) * (room <= 0))
        _padded(pen, spot, text, ("l" if right == (room > 0) else "r") + "m", 17)

    def _outline(self, pen: ImageDraw) -> None:
        """Draw the contours of this slice; their sizes stand in the corner, where they cover none."""
        at = {"plane": self.plane.name, "slice": self.seen.voxel[self.plane.through[0]]}
        for number, contour in enumerate(one for one in self.seen.contours if {**one, **at} == one):
            ink = READER if contour.get("name") else OWN
            spots = [self._on_panel(place) for place in self.scene.places(contour["points"]).tolist()]
            for colour, thick in (("#000000", 6), (ink, 3)):
                pen.line([*spots, *spots[:2]], fill=colour, width=thick, joint="curve")
            _padded(pen, (8, 38 + 26 * number), _printable(self.scene.size_text(contour)), "la", 16, ink=ink)

    def _scale_bar(self, pen: ImageDraw) -> None:
        width, height = self.size
        if self.scene.scale == "not calibrated":
            return _padded(pen, (width - 10, height - 10), self.scene.scale, "rd", 16)
        length = max((mm for mm in (1, 2, 5, 10, 20, 50, 100, 200) if mm * self.scale < width * 0.3), default=1)
        x, y = width - 10 - length * self.scale, height - 12
        for thick, colour in ((5, "#000000"), (3, TEXT)):
            pen.line((x, y, width - 10, y), fill=colour, width=thick)
        _padded(pen, (width - 10, y - 5), f"{length} mm {self.scene.scale}".strip(), "rd", 16)


def _legend(pen: ImageDraw, top: float, scene: Scene, seen: Scene | View) -> float:
    """Write window, crosshair and, behind their colours, the names under the planes; return where it ends."""
    window = [("", scene.window_text(seen.window))] * bool(scene.presets)
    here = ("", f"crosshair at {scene.place_text(seen.voxel)}: {scene.value_text(seen.voxel)}")
    names = [(colour, scene.names[label]) for label, colour in list(scene.colours.items())[:MOST_NAMES]]
    more = [("", f"and {len(scene.names) - MOST_NAMES} more")] * (len(scene.names) > MOST_NAMES)
    x, y = float(MARGIN), top + LINE / 2
    for number, (colour, said) in enumerate([*window, here, *names, *more]):
        text = _printable(said)
        width = _font(18).getlength(text) + 26 * bool(colour)
        if x > MARGIN and (x + width > WIDTH - MARGIN or number == len(window) + 1):
            x, y = float(MARGIN), y + LINE
        if colour:
            pen.rectangle((x, y - 8, x + 17, y + 8), fill=colour)
        pen.text((x + 26 * bool(colour), y), text, font=_font(18), fill=TEXT, anchor="lm")
        x += width + 30
    return y + LINE / 2 + MARGIN


def _padded(
    pen: ImageDraw, spot: tuple[float, float], text: str, anchor: str, size: int, *, bold: bool = False, ink: str = TEXT
) -> None:
    font = _font(size, bold=bold)
    left, top, right, bottom = pen.textbbox(spot, text, font=font, anchor=anchor)
    pen.rectangle((left - 4, top - 3, right + 3, bottom + 3), fill="#000000")  # to be read on bone as on air
    pen.text(spot, text, font=font, fill=ink, anchor=anchor)


def _printable(text: str) -> str:
    """Return what a header says, cut, without what no font has."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:300])


@cache
def _font(size: int, *, bold: bool = False) -> FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib and has the letters of every European name."""
    folder = Path(optional("matplotlib").get_data_path(), "fonts", "ttf")
    return optional("PIL.ImageFont").truetype(str(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
