"""The still picture of a scene: what papermill, an exported page, a printer and a reader without a browser get."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._optional import optional
from .scene import Plane, Scene, build

if TYPE_CHECKING:
    from highdicom import Volume
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

WIDTH, HIGHEST, MARGIN, GAP, TITLE, LINE = 1200, 640, 16, 10, 44, 30  # pixels
BACKGROUND, PANEL, TEXT, WARNING = "#10141a", "#222b36", "#f2f5f8", "#F0E442"
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


def still(
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
) -> Still:
    """Draw the axial, coronal and sagittal plane through one point as a picture, 1200 pixels wide.

    The options are those of `show`.

    Raises
    ------
    ViewError
        If the parts do not fit together; the message says which, and what was expected.
    """
    scene = build(volume, mask, title=title, names=names, preset=preset, window=window, at=at, modality=modality)
    return draw(scene, scene.voxel, scene.window, zoom=zoom, opacity=opacity)


def draw(scene: Scene, voxel: Sequence[int], window: Sequence[float], *, zoom: float, opacity: float) -> Still:
    """Draw a scene at a voxel (slice, row, column) with a window (center, width)."""
    image_module, draw_module = optional("PIL.Image"), optional("PIL.ImageDraw")
    scale, widths, height = _layout(scene)
    top = MARGIN + (TITLE if scene.title else 0)
    rows = _legend(scene, voxel, window)
    picture = image_module.new("RGB", (WIDTH, top + height + LINE * len(rows) + 2 * MARGIN), BACKGROUND)
    pen = draw_module.Draw(picture)
    if scene.title:
        back, ink = (WARNING, "#000000") if scene.is_stand_in else (PANEL, TEXT)
        pen.rectangle((0, 0, WIDTH, TITLE), fill=back)
        pen.text((MARGIN, TITLE // 2), scene.title, font=_font(21, bold=True), fill=ink, anchor="lm")
    left = (WIDTH - sum(widths) - 2 * GAP) // 2
    for plane, width in zip(scene.planes, widths, strict=True):
        panel = _Panel(scene, plane, voxel, zoom, scale, (width, height))
        picture.paste(panel.draw(window, opacity), (left, top))
        left += width + GAP
    for number, row in enumerate(rows):
        _write_row(pen, row, top + height + MARGIN + LINE // 2 + LINE * number)
    return Still(picture, scene.sentence(voxel, window))


def _layout(scene: Scene) -> tuple[float, list[int], int]:
    """Return pixels per mm, the width of each panel and the height of them all, in pixels."""
    shape, spacing = scene.array.shape, scene.spacing
    extents = [[shape[axis] * spacing[axis] for axis in (p.across[0], p.down[0])] for p in scene.planes]
    wide, high = sum(x for x, _ in extents), max(y for _, y in extents)
    scale = min((WIDTH - 2 * MARGIN - 2 * GAP) / wide, HIGHEST / high)
    return scale, [max(int(x * scale), 150) for x, _ in extents], max(int(high * scale), 150)


class _Panel:
    """One plane on its rectangle of the picture: pixels, overlay, crosshair, letters and scale bar."""

    def __init__(
        self, scene: Scene, plane: Plane, voxel: Sequence[int], zoom: float, scale: float, size: tuple[int, int]
    ):
        self.scene, self.plane, self.voxel, self.size = scene, plane, voxel, size
        self.column, self.row, self.slice = plane.position(scene.array.shape, voxel)
        axes = (plane.across[0], plane.down[0])
        count = [scene.array.shape[axis] for axis in axes]
        self.scale = scale * zoom  # pixels per mm
        # What of the plane is seen, in voxels, and the pixels it is drawn on.
        seen = [
            min(n, pixels / (self.scale * scene.spacing[a])) for n, pixels, a in zip(count, size, axes, strict=True)
        ]
        start = [
            min(max(at + 0.5 - s / 2, 0), n - s) for at, s, n in zip((self.column, self.row), seen, count, strict=True)
        ]
        self.box = (start[0], start[1], start[0] + seen[0], start[1] + seen[1])
        self.shape = tuple(max(1, round(s * scene.spacing[a] * self.scale)) for s, a in zip(seen, axes, strict=True))
        self.corner = tuple((full - used) // 2 for full, used in zip(size, self.shape, strict=True))

    def draw(self, window: Sequence[float], opacity: float) -> Image:
        image_module, draw_module = optional("PIL.Image"), optional("PIL.ImageDraw")
        panel = image_module.new("RGB", self.size, "#000000")
        panel.paste(image_module.fromarray(self._overlay(self._gray(window), opacity)), self.corner)
        self._annotate(draw_module.Draw(panel, "RGBA"))
        return panel

    def _gray(self, window: Sequence[float]) -> np.ndarray:
        """Return the plane through its window (LINEAR_EXACT of PS3.3 C.11.2.1.3.2), at the size it is drawn, as RGB."""
        image_module = optional("PIL.Image")
        center, width = window
        gray = (self.plane.cut(self.scene.array, self.voxel).astype(np.float32) - (center - width / 2)) * (255 / width)
        gray = np.clip(np.nan_to_num(gray), 0, 255).astype(np.uint8)
        image = image_module.fromarray(gray).resize(self.shape, image_module.Resampling.BICUBIC, box=self.box)
        return np.repeat(np.asarray(image)[..., None], 3, axis=2)

    def _overlay(self, picture: np.ndarray, opacity: float) -> np.ndarray:
        if self.scene.labels is None or not opacity:
            return picture
        x0, y0, x1, y1 = self.box
        height, width = picture.shape[:2]
        rows = (y0 + (np.arange(height) + 0.5) * (y1 - y0) / height).astype(int)
        columns = (x0 + (np.arange(width) + 0.5) * (x1 - x0) / width).astype(int)
        labels = self.plane.cut(self.scene.labels, self.voxel)[np.ix_(rows, columns)]
        edge = np.zeros(labels.shape, bool)
        for axis, shift in ((0, 1), (0, 2), (0, -1), (0, -2), (1, 1), (1, 2), (1, -1), (1, -2)):
            edge |= labels != np.roll(labels, shift, axis)
        for label, colour in self.scene.colours.items():
            here = labels == label
            for part, strength in ((here & ~edge, opacity), (here & edge, 1.0)):
                picture[part] = picture[part] * (1 - strength) + _rgb(colour) * strength
        return picture

    def _annotate(self, pen: ImageDraw) -> None:
        width, height = self.size
        x = self.corner[0] + (self.column + 0.5 - self.box[0]) * self.shape[0] / (self.box[2] - self.box[0])
        y = self.corner[1] + (self.row + 0.5 - self.box[1]) * self.shape[1] / (self.box[3] - self.box[1])
        for line in ((0, y, x - 14, y), (x + 14, y, width, y), (x, 0, x, y - 14), (x, y + 14, x, height)):
            if line[2] >= line[0] and line[3] >= line[1]:
                pen.line(line, fill=(0, 0, 0, 70), width=3)
                pen.line(line, fill=(255, 255, 255, 150), width=1)
        count = self.scene.array.shape[self.plane.through[0]]
        name = f"{self.plane.name} " if width > 300 else ""  # in a narrow place it would run into the letter
        _padded(pen, (8, 8), f"{name}{self.slice + 1}/{count}", "la", 17)
        left, right, top, bottom = self.plane.letters
        for spot, letter, anchor in (
            ((8, height / 2), left, "lm"),
            ((width - 8, height / 2), right, "rm"),
            ((width / 2, 8), top, "ma"),
            ((width / 2, height - 8), bottom, "md"),
        ):
            _padded(pen, spot, letter, anchor, 24, bold=True)
        self._scale_bar(pen)

    def _scale_bar(self, pen: ImageDraw) -> None:
        width, height = self.size
        length = max((mm for mm in (1, 2, 5, 10, 20, 50, 100, 200) if mm * self.scale < width * 0.3), default=1)
        x, y = width - 10 - length * self.scale, height - 12
        for thick, colour in ((5, "#000000"), (3, TEXT)):
            pen.line((x, y, width - 10, y), fill=colour, width=thick)
        _padded(pen, ((x + width - 10) / 2, y - 5), f"{length} mm", "md", 16)


def _legend(scene: Scene, voxel: Sequence[int], window: Sequence[float]) -> list[list[tuple[str, str]]]:
    """Return the lines under the planes, each a list of texts with the colour of the swatch before it, or none."""
    x, y, z = scene.point(voxel)
    value = f"{scene.array[tuple(voxel)].item():g} {scene.unit}".strip()
    rows = [[("", scene.window_text(window)), ("", f"crosshair at LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm: {value}")]]
    entries = [(colour, scene.names[label]) for label, colour in list(scene.colours.items())[:MOST_NAMES]]
    if len(scene.names) > MOST_NAMES:
        entries.append(("", f"and {len(scene.names) - MOST_NAMES} more"))
    room = 0.0
    for colour, name in entries:
        needed = _entry_width(colour, name)
        if needed > room:
            rows.append([])
            room = WIDTH - 2 * MARGIN
        rows[-1].append((colour, name))
        room -= needed
    return rows


def _entry_width(colour: str, text: str) -> float:
    return _font(18).getlength(text) + (26 if colour else 0) + 30


def _write_row(pen: ImageDraw, row: list[tuple[str, str]], y: float) -> None:
    x = float(MARGIN)
    for colour, text in row:
        if colour:
            pen.rectangle((x, y - 8, x + 17, y + 8), fill=colour)
        pen.text((x + (26 if colour else 0), y), text, font=_font(18), fill=TEXT, anchor="lm")
        x += _entry_width(colour, text)


def _padded(
    pen: ImageDraw, spot: tuple[float, float], text: str, anchor: str, size: int, *, bold: bool = False
) -> None:
    font = _font(size, bold=bold)
    left, top, right, bottom = pen.textbbox(spot, text, font=font, anchor=anchor)
    pen.rectangle((left - 4, top - 3, right + 3, bottom + 3), fill="#000000")  # to be read on bone as on air
    pen.text(spot, text, font=font, fill=TEXT, anchor=anchor)


@cache
def _font(size: int, *, bold: bool = False) -> FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib and has the letters of every European name."""
    folder = Path(optional("matplotlib").get_data_path(), "fonts", "ttf")
    return optional("PIL.ImageFont").truetype(str(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
