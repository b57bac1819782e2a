"""The plan of a made-up body: its frame, its landmarks, and the numbers of its structures.

Millimetres in a frame of its own, axes as LPS: x = 0 is the midline, the lung's apex is at z = -30, the domes of the
diaphragm near z = -180, the kidneys at z = -315. Labels carry TotalSegmentator's numbers (`NAMES`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .canvas import along_ray

FALSE_LUMEN, LUNGS = 150, (10, 11, 12, 13, 14)
BODY, FAT, OTHER = 201, 202, 203  # above 200: no structure of the scheme, only a place to draw in

# Where vertebra and rib begin: the disc above each of T1..T12, L1..L3.
DISCS = (-18, -32, -47, -64, -82, -102, -124, -147, -171, -197, -224, -252, -281, -311, -343)
VERTEBRAE = [*(f"T{n}" for n in range(1, 13)), "L1", "L2"]
RIB_DROP = (34, 46, 62, 80, 98, 108, 108, 104, 95, 90, 72, 42)
RIB_SWEEP = (150, 150, 146, 143, 140, 136, 132, 122, 112, 100, 72, 48)  # how far round the chest, degrees

NAMES = {
    1: "spleen", 2: "kidney_right", 3: "kidney_left", 4: "gallbladder", 5: "liver", 6: "stomach", 7: "pancreas",
    10: "lung_upper_lobe_left", 11: "lung_lower_lobe_left", 12: "lung_upper_lobe_right", 13: "lung_middle_lobe_right",
    14: "lung_lower_lobe_right", 15: "esophagus", 16: "trachea", 17: "thyroid_gland", 20: "colon",
    **{43 - i: f"vertebrae_{name}" for i, name in enumerate(VERTEBRAE)}, 44: "vertebrae_C7",
    51: "heart", 52: "aorta", 53: "pulmonary_vein", 54: "brachiocephalic_trunk", 56: "subclavian_artery_left",
    58: "common_carotid_artery_left", 62: "superior_vena_cava", 63: "inferior_vena_cava", 69: "humerus_left",
    70: "humerus_right", 71: "scapula_left", 72: "scapula_right", 73: "clavicula_left", 74: "clavicula_right",
    79: "spinal_cord", 86: "autochthon_left", 87: "autochthon_right",
    **{92 + i: f"rib_left_{i + 1}" for i in range(12)}, **{104 + i: f"rib_right_{i + 1}" for i in range(12)},
    116: "sternum", 118: "costal_cartilages",
}  # fmt: skip


def along(z: float, *knots: tuple[float, float]) -> float:
    """Return a value between knots (z, value), which may be given from head to feet."""
    places, values = zip(*sorted(knots), strict=True)
    return float(np.interp(z, places, values))


def spine_front(z: float) -> float:
    """Return how far back the front of the spine is: kyphosis of the chest, lordosis of neck and loin."""
    return along(
        z, (-10, -2), (-45, 24), (-80, 46), (-115, 58), (-150, 62), (-185, 57), (-230, 44), (-290, 17), (-345, 2)
    )


def cavity(z: float) -> tuple[float, float, float]:
    """Return half-width, half-depth and middle (y) of the inside of the rib cage."""
    rise = max(0.0, (z + 225) / 197)  # 1 at the apex
    if rise >= 1:
        return 0.0, 0.0, 30.0
    return 122 * (1 - rise**2.6) ** 0.5, 91 * (1 - rise**3.2) ** 0.5, 12 + 18 * rise**2


def diaphragm(x: NDArray, y: NDArray, side: int) -> NDArray:
    """Return the height (z) of one dome: the right one is higher, over the liver; the heart lies in a hollow."""
    u, v = (side * x - 58) / 72, (y + 12) / 96
    hollow = 26 / (1 + np.square((x - 24) / 45) + np.square((y + 32) / 40))
    return (-186 if side > 0 else -174) - 66 * (u * u + v * v) - hollow


def oval(x: NDArray, y: NDArray, a: float, b: float, *, boxy: float = 0.0) -> NDArray:
    """Return the distance to an ellipse with half-axes a and b, along the ray; `boxy` (0..1) fills the corners."""
    u, v = np.square(x / np.float32(a)), np.square(y / np.float32(b))
    relative = np.sqrt((1 - boxy) * (u + v) + boxy * np.sqrt(u * u + v * v))
    return along_ray(np.sqrt(x * x + y * y), relative, min(a, b))
