"""What there is to see: a volume or an image, its mask and its window, and how its axes lie in the patient.

The viewer in the browser and the still picture are drawn from the same scene, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..errors import ViewError

if TYPE_CHECKING:
    from highdicom import Volume

    from .widget import View

Names: TypeAlias = "Mapping[int, str] | Sequence[str] | None"
Window: TypeAlias = tuple[float, float]  # center and width

# Across the screen to the right, down the screen, and along the scroll: the radiological convention, where one looks
# from the patient's feet (axial), face (coronal) and left side (sagittal).
PLANES = {"axial": ("L", "P", "H"), "coronal": ("L", "F", "P"), "sagittal": ("P", "F", "L")}
OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "H": "F", "F": "H"}

# Window center and width in HU, as reading rooms use them (PS3.3 C.11.2.1.2 says what they mean).
CT_WINDOWS = {
    "soft tissue": (50.0, 400.0),
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "liver": (60.0, 160.0),
    "brain": (40.0, 80.0),
}

# Okabe and Ito's palette, which colour-blind readers can tell apart, the darkest last (jfly.uni-koeln.de/color).
COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")


@dataclass(frozen=True)
class Plane:
    """How one plane is cut from the array: three array axes, each with the direction (+1, -1) in which it is read."""

    name: str
    across: tuple[int, int]
    down: tuple[int, int]
    through: tuple[int, int]
    letters: tuple[str, str, str, str]  # left, right, top, bottom of the screen

    def cut(self, array: np.ndarray, voxel: Sequence[int]) -> np.ndarray:
        """Return the plane through ``voxel`` as it is seen, in rows and columns of the screen (a view, no copy)."""
        at = tuple(voxel[a] if a == self.through[0] else slice(None) for a in range(3))
        image = array[at] if self.down[0] < self.across[0] else array[at].T
        return image[:: self.down[1], :: self.across[1]]

    def position(self, shape: Sequence[int], voxel: Sequence[float]) -> tuple[float, float, float]:
        """Return ``voxel`` as column and row of the screen and number of the slice, each counted from 0."""
        across, down, through = (
            voxel[axis] if step > 0 else shape[axis] - 1 - voxel[axis]
            for axis, step in (self.across, self.down, self.through)
        )
        return across, down, through


@dataclass(frozen=True)
class Scene:
    """A volume (slice, row, column) with its affine to LPS in mm, and everything that is drawn with it.

    An image is a volume whose slices are its frames, with one plane and, in the place of LPS, its own frame, row and
    column; in colour its array has a fourth axis.
    """

    array: np.ndarray
    affine: np.ndarray
    labels: np.ndarray | None
    names: dict[int, str]
    voxel: tuple[int, ...]
    presets: dict[str, Window]  # none for a colour
    planes: tuple[Plane, ...]  # axial, coronal and sagittal, or what comes nearest to them in an oblique volume
    spacing: tuple[float, ...]  # of neighbours along each array axis in mm
    window: Window = (127.5, 255.0)
    title: str = ""
    unit: str = ""
    zoom: float = 1.0
    opacity: float = 0.4
    distances: Sequence[Mapping[str, Any]] = ()
    contours: Sequence[Mapping[str, Any]] = ()
    volume: Volume | None = None  # what is shown, if it is no image
    banner: tuple[str, ...] = ()  # whose it is, from the header
    scale: str = ""  # what a mm is worth, if it is not one in the patient: "at the detector", "not calibrated"
    inverted: bool = False  # the lowest value is white
    levels: tuple[int, ...] = tuple(range(256))  # the grays along the window ...
    reach: tuple[float, float] = (-0.5, 0.5)  # ... which they span from here to here, in widths from its center
    padding: int = 0  # the label of what is to be black
    frame_ms: float = 0.0

    @property
    def is_flat(self) -> bool:
        """Whether this is an image, with frames instead of slices."""
        return len(self.planes) == 1

    @property
    def colours(self) -> dict[int, str]:
        """A colour for each label, in the order of the labels."""
        return {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(self.names)}

    @property
    def is_stand_in(self) -> bool:
        """Whether the title says that the picture shows generated data in the place of a patient's."""
        return "STAND-IN" in self.title

    def point(self, voxel: Sequence[int]) -> tuple[float, ...]:
        """Return the centre of a voxel in LPS, in mm."""
        return tuple((self.affine @ (*voxel, 1.0))[:3].tolist())

    def places(self, points: Any) -> np.ndarray:
        """Return points (n, 3) in LPS as slice, row and column, between voxels too."""
        return (np.asarray(points) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def window_text(self, window: Sequence[float]) -> str:
        """Return a window in words, with the name of its preset where it has one."""
        name = next((f" ({name})" for name, preset in self.presets.items() if tuple(window) == preset), "")
        return f"W {_number(window[1])} L {_number(window[0])} {self.unit}".rstrip() + name

    def place_text(self, voxel: Sequence[int]) -> str:
        """Return where a voxel is, in words."""
        if not self.is_flat:
            return f"LPS {_triple(self.point(voxel))} mm"
        frame = f"frame {voxel[0] + 1} of {len(self.array)}, " * (len(self.array) > 1)
        return f"{frame}row {voxel[1] + 1}, column {voxel[2] + 1}"

    def value_text(self, voxel: Sequence[int]) -> str:
        """Return the value at a voxel in words: red, green and blue of a colour."""
        if self.padding and self.labels is not None and self.labels[tuple(voxel)] == self.padding:
            return "padding"
        return f"{', '.join(_number(v) for v in np.ravel(self.array[tuple(voxel)]).tolist())} {self.unit}".strip()

    def length_text(self, distance: Mapping[str, Any]) -> str:
        """Return a measured distance in words, with what its mm are worth."""
        if distance.get("mm") is None:
            return f"{distance['pixels']:.1f} pixels"
        return f"{distance['mm']:.1f} mm {self.scale}".strip()

    def size_text(self, contour: Mapping[str, Any]) -> str:
        """Return whose a contour is, its area (shoelace formula) and its longest diameter, in words."""
        mm = self.places(contour["points"]) * self.spacing
        area = np.linalg.norm(np.cross(mm - mm[0], np.roll(mm, -1, axis=0) - mm[0]).sum(axis=0)) / 2
        longest, whose = max(np.linalg.norm(mm - end, axis=1).max() for end in mm), contour.get("name")
        unit, worth = ("pixels", "") if self.scale == "not calibrated" else ("mm", self.scale)
        return f"{whose}: " * bool(whose) + f"{area:.1f} {unit}², longest {longest:.1f} {unit} {worth}".rstrip()

    def sentence(self, seen: Scene | View) -> str:
        """Return the picture in one sentence, for whoever cannot see it."""
        shown = ", ".join(list(self.names.values())[:8]) + (f" and {len(self.names) - 8} more" * (len(self.names) > 8))
        what = "image, with its crosshair at" if self.is_flat else "axial, coronal and sagittal plane through"
        sizes = ", ".join([*map(self.length_text, seen.distances), *map(self.size_text, seen.contours[:8])])
        return (
            f"{self.title or ('Image' if self.is_flat else 'Image volume')}: {what} {self.place_text(seen.voxel)}, "
            f"where the value is {self.value_text(seen.voxel)}; "
            + f"window {self.window_text(seen.window)}; " * bool(self.presets)
            + f"measured: {sizes}; " * bool(sizes)
            + (f"overlay: {shown}." if shown else "no overlay.")
        )


def volume_scene(
    volume: Volume, mask: Volume | np.ndarray | None, *, names: Names, at: Sequence[float] | None, modality: str
) -> Scene:
    """Check a volume, its mask and the point to open at, and make them a scene; a ViewError says what does not fit."""
    array = volume.array
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        raise ViewError(
            f"A view needs a volume of one number per voxel (slice, row, column); this one has the shape {array.shape} "
            f"and the type {array.dtype}. Choose one channel: volume.get_channel(...)"
        )
    labels = labels_of(mask, array.shape, volume.affine)
    known = names_of(labels, names)
    presets = dict(CT_WINDOWS) if modality == "CT" else windows_of(array, modality)
    voxel = _nearest(volume, at) if at is not None else _centre(volume, labels, list(known))
    planes = tuple(_plane(name, volume.affine) for name in PLANES)
    spacing = tuple(np.linalg.norm(volume.affine[:3, :3], axis=0).tolist())
    unit = "HU" if modality == "CT" else ""
    return Scene(array, volume.affine, labels if known else None, known, voxel, presets, planes, spacing, unit=unit)


def _plane(name: str, affine: np.ndarray) -> Plane:
    from highdicom.spatial import get_closest_patient_orientation

    toward = [letter.value for letter in get_closest_patient_orientation(affine)]

    def find(letter: str) -> tuple[int, int]:
        axis = next(i for i, t in enumerate(toward) if t in (letter, OPPOSITE[letter]))
        return axis, 1 if toward[axis] == letter else -1

    across, down, through = map(find, PLANES[name])
    right, bottom = (direction_letters(affine[:3, axis] * step) for axis, step in (across, down))
    return Plane(name, across, down, through, (opposite(right), right, opposite(bottom), bottom))


def opposite(letters: str) -> str:
    """Return the letters of the other direction: "RF" for "LH"."""
    return "".join(OPPOSITE.get(letter, "") for letter in letters)


def direction_letters(vector: np.ndarray) -> str:
    """Return the way a vector (LPS) points in the patient, the strongest letter first, as in PS3.3 C.7.6.1.1.1.

    A further letter is written from 10 degrees on: "L" is straight to the patient's left, "LH" also somewhat up.
    """
    unit = np.asarray(vector) / np.linalg.norm(vector)
    strongest_first = np.argsort(-abs(unit), kind="stable")
    return "".join("LPH"[i] if unit[i] > 0 else "RAF"[i] for i in strongest_first if abs(unit[i]) > np.sin(np.pi / 18))


def labels_of(mask: Any, shape: tuple[int, ...], affine: np.ndarray | None = None) -> np.ndarray | None:
    """Return a mask as whole numbers on the grid of its volume or image, or refuse it."""
    if mask is None:
        return None
    labels = np.asarray(getattr(mask, "array", mask))
    labels = labels[None] if labels.ndim == 2 else labels
    if labels.shape != shape:
        raise ViewError(
            f"A mask lies on the grid of its volume, {shape} (slice, row, column); "
            f"this one has the shape {labels.shape}. Resample it to the volume first."
        )
    if affine is not None and hasattr(mask, "affine") and not np.allclose(mask.affine, affine, atol=1e-3):
        raise ViewError(
            "The mask has the shape of the volume but lies elsewhere in the patient: its first voxel is at "
            f"{_triple(mask.affine[:3, 3])} mm (LPS), the volume's at {_triple(affine[:3, 3])} mm, or its axes "
            "differ. Resample it to the volume: mask.match_geometry(volume)"
        )
    if labels.dtype.kind not in "biu" or (labels.size and (labels.min() < 0 or labels.max() > 65535)):
        raise ViewError(
            f"A mask holds whole numbers from 0 to 65535, one for each structure; this one is {labels.dtype}."
        )
    return labels.view(np.uint8) if labels.dtype == bool else labels


def names_of(labels: np.ndarray | None, names: Names) -> dict[int, str]:
    """Return the name of each label that occurs, without the background."""
    seen = np.zeros(65536, bool)
    for part in () if labels is None else labels:  # `numpy.unique` would sort all voxels
        seen[part] = True
    names = [names] if isinstance(names, str) else names
    known = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or (), start=1))
    return {label: known.get(label, f"label {label}") for label in (np.flatnonzero(seen[1:]) + 1).tolist()}


def window_of(presets: Mapping[str, Window], preset: str | None, window: Window | None) -> Window:
    """Return the window that is asked for, else the first."""
    if preset is not None and preset not in presets:
        raise ViewError(f"There is no window called {preset!r} here; there are: {', '.join(presets) or 'none'}.")
    center, width = window or presets.get(preset or next(iter(presets), ""), Scene.window)
    if not width > 0:
        raise ViewError(f"A window is (center, width) with a width above 0; this width is {width}.")
    return float(center), float(width)


def windows_of(array: np.ndarray, modality: str = "") -> dict[str, Window]:
    """Return windows for a modality without fixed units, from its values: what emits (PT, NM) is read from 0 up."""
    sample = array.ravel()[:: max(1, array.size // 500_000)]
    finite = sample[np.isfinite(sample)]
    low, high, darkest, brightest = np.percentile(finite if finite.size else [0], (1, 99, 0, 100)).tolist()
    emits = modality in ("PT", "NM")
    if not emits and np.mean(finite == darkest) > 0.2 and brightest > darkest:
        high = float(np.percentile(finite[finite > darkest], 99.8))  # a skull was stripped: the rest has its own range
    ranges = {"automatic": (low, high), "all values": (darkest, brightest)}
    if emits:
        ranges = {"automatic": (0, high), "all values": (0, brightest), "faint": (0, high / 4)}
    else:
        ranges |= {"bright": ((low + high) / 2, brightest), "dark": (low, (low + high) / 2)}
    return {name: ((a + b) / 2, max(b - a, 1e-6)) for name, (a, b) in ranges.items()}


def _nearest(volume: Volume, point: Sequence[float]) -> tuple[int, ...]:
    voxel = tuple(np.rint(volume.inverse_affine @ (*point, 1.0))[:3].astype(int).tolist())
    if not all(0 <= i < n for i, n in zip(voxel, volume.spatial_shape, strict=True)):
        raise ViewError(
            f"The point {_triple(point)} mm (LPS) lies outside of the volume: it would be voxel {voxel} of "
            f"{volume.spatial_shape} (slice, row, column)."
        )
    return voxel


def _centre(volume: Volume, labels: np.ndarray | None, present: list[int]) -> tuple[int, ...]:
    """Return the middle of the volume or, with a mask, of the first structure where its axial section is largest."""
    if labels is None or not present:
        return tuple(n // 2 for n in volume.spatial_shape)
    through = _plane("axial", volume.affine).through[0]
    inside = labels == present[0]
    largest = int(inside.sum(axis=tuple(a for a in range(3) if a != through)).argmax())
    section = np.argwhere(inside.take([largest], axis=through))
    section[:, through] = largest
    return tuple(section[((section - section.mean(axis=0)) ** 2).sum(axis=1).argmin()].tolist())


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def _triple(point: Sequence[float] | np.ndarray) -> str:
    return "({:.1f}, {:.1f}, {:.1f})".format(*point)
