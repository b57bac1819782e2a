"""What the Fleischner Society's guideline of 2017 would do with the size of one solid nodule found by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ResultError

SOURCE = (
    "MacMahon H, Naidich DP, Goo JM, et al. Guidelines for Management of Incidental Pulmonary Nodules Detected on CT "
    "Images: From the Fleischner Society 2017. Radiology 2017;284:228-243. doi:10.1148/radiol.2017161659"
)
LIMITS = (
    "It is for a nodule found by chance in a person of 35 or older, without a known cancer and without immune "
    "suppression; not for lung cancer screening, where Lung-RADS applies. Compare with an earlier scan first."
)
# By mean diameter in whole mm, or by volume.
CLASSES = ("below 6 mm or 100 mm³", "6 to 8 mm or 100 to 250 mm³", "above 8 mm or 250 mm³")
ADVICE = {
    (0, "low"): "no routine follow-up.",
    (0, "high"): "optional follow-up: CT at 12 months, particularly with a suspicious shape or in an upper lobe.",
    (1, "low"): "CT at 6 to 12 months; then consider CT at 18 to 24 months.",
    (1, "high"): "CT at 6 to 12 months; then CT at 18 to 24 months.",
    (2, "low"): "consider CT at 3 months, PET/CT, or tissue sampling.",
    (2, "high"): "consider CT at 3 months, PET/CT, or tissue sampling.",
}


@dataclass(frozen=True)
class Recommendation:
    """What the guideline says (the size class, then the advice), whom it is for, and the paper where it stands."""

    text: str
    limits: str
    source: str

    def __str__(self) -> str:
        return f"{self.text} {self.limits}"


def fleischner(
    mean_diameter_mm: float, volume_mm3: float | None, risk: str, kind: str, age: float | None
) -> Recommendation:
    """Look it up; `Measurement.fleischner` says what it asks and whom it is for."""
    if kind != "solid":
        raise ResultError(f"Only single solid nodules are covered here, not {kind!r}: see the guideline's own table.")
    if risk not in ("low", "high"):
        raise ResultError(
            f"Expected the risk to be 'low' or 'high', got {risk!r}: a clinical judgement has to be made."
        )
    if age is not None and age < 35:
        raise ResultError("The guideline is for people of 35 and older: in the young, decide case by case.")
    if not mean_diameter_mm > 0 or (volume_mm3 is not None and not volume_mm3 > 0):
        raise ResultError("Expected a diameter in mm, and a volume in mm³, above zero.")
    diameter = math.floor(mean_diameter_mm + 0.5)
    if diameter > 30:
        raise ResultError(
            f"{diameter} mm is a mass, not a nodule (at most 30 mm): the guideline does not apply; work it up."
        )
    by_diameter = (diameter >= 6) + (diameter > 8)
    by_volume = by_diameter if volume_mm3 is None else (volume_mm3 >= 100) + (volume_mm3 > 250)
    rank = max(by_diameter, by_volume)
    size = f"{diameter} mm" if volume_mm3 is None else f"{diameter} mm, {volume_mm3:.0f} mm³"
    doubt = "" if by_volume == by_diameter else " Diameter and volume disagree; the higher class is taken here."
    text = f"For a single solid nodule of {size} ({CLASSES[rank]}) at {risk} risk: {ADVICE[rank, risk]}{doubt}"
    return Recommendation(text, LIMITS, SOURCE)
