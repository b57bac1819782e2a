"""The bodies that stand in for real images, each drawn as its source would have been scanned, with its exact truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from . import anatomy
from .bodyplan import FALSE_LUMEN
from .canvas import Canvas, Ellipsoid

# The lesions, in the frame of `anatomy` (LPS mm).
NODULE = Ellipsoid((68, 62, -120), (11.8, 11.0, 11.3))  # 6.14 ml, left lower lobe
SMALL_LESION = Ellipsoid((-42, -14, -84), (7.5, 6.6, 6.8))  # 1.41 ml, right upper lobe, beside the mediastinum
LARGE_MASS = Ellipsoid((80, 66, -178), (24.0, 21.0, 22.8))  # 48.1 ml, left lower lobe, against the pleura
# Scalp, skull, fluid, gray and white matter, ventricles, and a lesion on the left: centre (LPS mm), half-axes, signal.
_HEAD = [
    *(((0, 10, 0), (a, b, c), value) for a, b, c, value in [(76, 94, 92, 480), (70, 88, 86, 60), (66, 84, 82, 620)]),
    *(((0, 10, 0), (a, b, c), value) for a, b, c, value in [(63, 80, 78, 560), (50, 66, 64, 430)]),
    *(((x, 5, 10), (8, 28, 14), 600) for x in (-14, 14)),
    ((34, -22, 30), (9, 11, 10), 900),
]


def chest() -> tuple[Volume, Volume, Volume]:
    """A whole chest with contrast: the CT, the labels of its structures, and `NODULE`."""
    canvas = Canvas((133, 512, 512), (2.5, 0.703125, 0.703125), (-180, -166, -340))
    anatomy.draw(canvas)
    nodule = canvas.lesion(NODULE)
    anatomy.finish(canvas)
    return _ct(canvas), canvas.volume(canvas.labels), canvas.volume(nodule)


def lung(
    slices: int, pixel_mm: float, origin: tuple[float, float, float], lesion: Ellipsoid, blood: float
) -> tuple[Volume, Volume]:
    """A chest in slices of 5 mm: the CT, and the lesion in it."""
    canvas = Canvas((slices, 512, 512), (5.0, pixel_mm, pixel_mm), origin)
    anatomy.draw(canvas, blood=blood)
    outline = canvas.lesion(lesion)
    anatomy.finish(canvas, noise=10, seed=slices, field_of_view=False)
    return _ct(canvas), canvas.volume(outline.astype(np.int16))


def aorta() -> tuple[Volume, Volume]:
    """A dissected aorta: the CT, and its true (1) and false (2) lumen on a cut-out of it."""
    canvas = Canvas((191, 167, 233), (1.5, 1.5, 1.5), (-174, -112, -326))
    anatomy.draw(canvas, blood=330, dissected=True)
    anatomy.finish(canvas, noise=22, seed=3, field_of_view=False)
    lumina = np.zeros_like(canvas.labels)
    lumina[canvas.labels == 52], lumina[canvas.labels == FALSE_LUMEN] = 1, 2
    around: Any = tuple(slice(max(0, int(i.min()) - 10), int(i.max()) + 11) for i in np.nonzero(lumina))
    return _ct(canvas), canvas.volume(lumina)[around]


def abdomen() -> tuple[Volume, Volume]:
    """Twenty slices of an abdomen: the CT, and the labels of its organs."""
    canvas = Canvas((20, 512, 512), (2.0, 0.9765625, 0.9765625), (-249.5, -230, -300))
    anatomy.draw(canvas, blood=170)
    anatomy.finish(canvas, seed=4, field_of_view=False)
    return _ct(canvas), canvas.volume(canvas.labels)


def head() -> Volume:
    """Twenty oblique slices of a head made of ellipsoids, as a scanner for MR sees it."""
    across, down, up = np.array([[1, 0, 0], [0, 0.99096, 0.134158], [0, -0.134158, 0.99096]])
    affine = np.eye(4)
    affine[:3] = np.column_stack([7 * up, 0.859375 * down, 0.859375 * across, (-110.5, -78.3, -72.75)])
    signal = np.full((20, 256, 256), 20.0)
    place = np.moveaxis(np.indices(signal.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    for centre, axes, value in _HEAD:
        signal[(((place - centre) / axes) ** 2).sum(axis=-1) < 1] = value
    signal += np.random.default_rng(6).normal(0, 12, signal.shape)
    return Volume(np.rint(abs(signal)).astype(np.int16), affine, coordinate_system="PATIENT")


def radiograph() -> NDArray:
    """Project the chest from back to front by Beer and Lambert's law, with parallel rays; white is stored as low."""
    canvas = Canvas((660, 80, 720), (0.5, 3.0, 0.5), (-180, -108, -340))
    anatomy.draw(canvas, blood=45)
    canvas.lesion(NODULE)
    canvas.hu += 1.2 * np.maximum(canvas.hu - 100, 0)  # bone takes more of a film's softer rays than of a CT's
    density = canvas.hu.sum(axis=1, dtype=np.float64)[::-1] / 1000 + canvas.hu.shape[1]
    exposure = -0.019 * 3.0 * density  # natural logarithm; water takes 1.9 % of the rays a millimetre
    grain = np.random.default_rng(5).standard_normal(exposure.shape)
    exposure += 0.004 * np.exp(-exposure / 2.6) * grain
    low, high = np.quantile(exposure, (0.002, 0.9))
    return np.rint(30000 * np.clip((exposure - low) / (high - low), 0, 1.05)).astype("<u2")


def _ct(canvas: Canvas) -> Volume:
    return canvas.volume(np.rint(canvas.hu).astype(np.int16))
