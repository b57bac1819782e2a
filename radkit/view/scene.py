"""What there is to see: a volume, its mask and its window, and how its axes lie in the patient.

The viewer in the browser and the still picture are drawn from the same scene, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ViewError

if TYPE_CHECKING:
    from highdicom import Volume

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

    def position(self, shape: Sequence[int], voxel: Sequence[int]) -> tuple[int, int, int]:
        """Return ``voxel`` as column and row of the screen and number of the slice, each counted from 0."""
        across, down, through = (
            voxel[axis] if step > 0 else shape[axis] - 1 - voxel[axis]
            for axis, step in (self.across, self.down, self.through)
        )
        return across, down, through


@dataclass(frozen=True)
class Scene:
    """A volume (slice, row, column) with its affine to LPS in mm, and everything that is drawn with it."""

    array: np.ndarray
    affine: np.ndarray
    labels: np.ndarray | None
    names: dict[int, str]
    voxel: tuple[int, int, int]
    window: tuple[float, float]
    presets: dict[str, tuple[float, float]]
    title: str
    unit: str

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The axial, coronal and sagittal plane, or what comes nearest to them in an oblique volume."""
        return tuple(_plane(name, self.affine) for name in PLANES)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbours along each array axis in mm."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())

    @property
    def colours(self) -> dict[int, str]:
        """A colour for each label, in the order of the labels."""
        return {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(self.names)}

    @property
    def is_stand_in(self) -> bool:
        """Whether the title says that the picture shows generated data in the place of a patient's."""
        return "STAND-IN" in self.title

    def point(self, voxel: Sequence[int]) -> tuple[float, float, float]:
        """Return the centre of a voxel in LPS, in mm."""
        x, y, z = (self.affine @ (*voxel, 1.0))[:3].tolist()
        return x, y, z

    def window_text(self, window: Sequence[float]) -> str:
        """Return a window in words, with the name of its preset where it has one."""
        center, width = window
        name = next((name for name, preset in self.presets.items() if tuple(window) == preset), "")
        return (
            f"W {_number(width)} L {_number(center)}" + (f" {self.unit}" * bool(self.unit)) + f" ({name})" * bool(name)
        )

    def sentence(self, voxel: Sequence[int], window: Sequence[float]) -> str:
        """Return the picture in one sentence, for whoever cannot see it."""
        x, y, z = self.point(voxel)
        value = f"{_number(self.array[tuple(voxel)].item())} {self.unit}".strip()
        shown = ", ".join(list(self.names.values())[:8]) + (f" and {len(self.names) - 8} more" * (len(self.names) > 8))
        return (
            f"{self.title or 'Image volume'}: axial, coronal and sagittal plane through the LPS point "
            f"({x:.1f}, {y:.1f}, {z:.1f}) mm, where the value is {value}; window {self.window_text(window)}; "
            + (f"overlay: {shown}." if shown else "no overlay.")
        )


def build(
    volume: Volume,
    mask: Volume | np.ndarray | None,
    *,
    title: str,
    names: Mapping[int, str] | Sequence[str] | None,
    preset: str | None,
    window: tuple[float, float] | None,
    at: Sequence[float] | None,
    modality: str,
) -> Scene:
    """Check what `show` and `still` were given, and make it a scene; the options are described there.

    Raises
    ------
    ViewError
        If the parts do not fit together; the message says which, and what was expected.
    """
    array = volume.array
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        raise ViewError(
            f"A view needs a volume of one number per voxel (slice, row, column); this one has the shape {array.shape} "
            f"and the type {array.dtype}. Choose one channel: volume.get_channel(...)"
        )
    labels = None if mask is None else _labels(volume, mask)
    present = [] if labels is None else np.unique(labels[labels != 0]).tolist()
    presets = dict(CT_WINDOWS) if modality == "CT" else _windows_of(array)
    return Scene(
        array=array,
        affine=volume.affine,
        labels=labels if present else None,
        names=_names(present, names),
        voxel=_nearest(volume, at) if at is not None else _centre(volume, labels, present),
        window=_window(preset, window, presets),
        presets=presets,
        title=title,
        unit="HU" if modality == "CT" else "",
    )


def _plane(name: str, affine: np.ndarray) -> Plane:
    from highdicom.spatial import get_closest_patient_orientation

    toward = [letter.value for letter in get_closest_patient_orientation(affine)]

    def find(letter: str) -> tuple[int, int]:
        axis = next(i for i, t in enumerate(toward) if t in (letter, OPPOSITE[letter]))
        return axis, 1 if toward[axis] == letter else -1

    across, down, through = map(find, PLANES[name])
    right, bottom = (direction_letters(affine[:3, axis] * step) for axis, step in (across, down))
    left, top = ("".join(OPPOSITE[c] for c in letters) for letters in (right, bottom))
    return Plane(name, across, down, through, (left, right, top, bottom))


def direction_letters(vector: np.ndarray) -> str:
    """Return the way a vector (LPS) points in the patient, the strongest letter first, as in PS3.3 C.7.6.1.1.1.

    A further letter is written from 10 degrees on: "L" is straight to the patient's left, "LH" also somewhat up.
    """
    unit = np.asarray(vector) / np.linalg.norm(vector)
    strongest_first = np.argsort(-abs(unit), kind="stable")
    return "".join("LPH"[i] if unit[i] > 0 else "RAF"[i] for i in strongest_first if abs(unit[i]) > np.sin(np.pi / 18))


def _labels(volume: Volume, mask: Volume | np.ndarray) -> np.ndarray:
    labels = np.asarray(getattr(mask, "array", mask))
    if labels.shape != volume.spatial_shape:
        raise ViewError(
            f"A mask lies on the grid of its volume, {volume.spatial_shape} (slice, row, column); "
            f"this one has the shape {labels.shape}. Resample it to the volume first."
        )
    if hasattr(mask, "affine") and not np.allclose(mask.affine, volume.affine, atol=1e-3):
        raise ViewError(
            "The mask has the shape of the volume but lies elsewhere in the patient: its first voxel is at "
            f"{_triple(mask.affine[:3, 3])} mm (LPS), the volume's at {_triple(volume.affine[:3, 3])} mm, or its axes "
            "differ. Resample it to the volume: mask.match_geometry(volume)"
        )
    if labels.dtype.kind not in "biu" or (labels.size and (labels.min() < 0 or labels.max() > 65535)):
        raise ViewError(
            f"A mask holds whole numbers from 0 to 65535, one for each structure; this one is {labels.dtype}."
        )
    return labels.view(np.uint8) if labels.dtype == bool else labels


def _names(present: list[int], names: Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    if isinstance(names, str):
        names = [names]
    known = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or (), start=1))
    return {label: known.get(label, f"label {label}") for label in present}


def _window(
    preset: str | None, window: tuple[float, float] | None, presets: dict[str, tuple[float, float]]
) -> tuple[float, float]:
    if preset is not None and preset not in presets:
        raise ViewError(f"There is no window called {preset!r} here; there are: {', '.join(presets)}.")
    center, width = window or presets[preset or next(iter(presets))]
    if not width > 0:
        raise ViewError(f"A window is (center, width) with a width above 0; this width is {width}.")
    return float(center), float(width)


def _windows_of(array: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return windows for a modality without fixed units: nearly all values, all values, and the brighter half."""
    sample = array.ravel()[:: max(1, array.size // 500_000)]
    low, high, darkest, brightest = np.nanpercentile(sample, (1, 99, 0, 100)).tolist()
    ranges = {"automatic": (low, high), "all values": (darkest, brightest), "bright": ((low + high) / 2, brightest)}
    return {name: ((a + b) / 2, max(b - a, 1e-6)) for name, (a, b) in ranges.items()}


def _nearest(volume: Volume, point: Sequence[float]) -> tuple[int, int, int]:
    k, r, c = np.rint(volume.inverse_affine @ (*point, 1.0))[:3].astype(int).tolist()
    if not all(0 <= i < n for i, n in zip((k, r, c), volume.spatial_shape, strict=True)):
        raise ViewError(
            f"The point {_triple(point)} mm (LPS) lies outside of the volume: it would be voxel ({k}, {r}, {c}) of "
            f"{volume.spatial_shape} (slice, row, column)."
        )
    return k, r, c


def _centre(volume: Volume, labels: np.ndarray | None, present: list[int]) -> tuple[int, int, int]:
    """Return the middle of the volume or, with a mask, of the first structure where its axial section is largest."""
    if labels is None or not present:
        k, r, c = (n // 2 for n in volume.spatial_shape)
        return k, r, c
    through = _plane("axial", volume.affine).through[0]
    inside = labels == present[0]
    largest = int(inside.sum(axis=tuple(a for a in range(3) if a != through)).argmax())
    section = np.argwhere(inside.take([largest], axis=through))
    section[:, through] = largest
    k, r, c = section[((section - section.mean(axis=0)) ** 2).sum(axis=1).argmin()].tolist()
    return k, r, c


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def _triple(point: Sequence[float] | np.ndarray) -> str:
    return "({:.1f}, {:.1f}, {:.1f})".format(*point)
