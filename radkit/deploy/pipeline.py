"""The nodule application, step by step: choose the series, find, measure, write SEG and SR, deliver.

Each step is a plain function on one `Case`. The MONAI Deploy application wraps each in an operator; where its SDK
cannot be had (macOS, Windows) `run_steps` calls the same functions in the same order.
"""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from .. import __version__
from ..dicom import read_headers, read_series
from ..errors import DicomError, ModelError, RadkitError
from ..model import Bundle, find_nodules
from ..results import check, measure, write_report, write_segmentation

if TYPE_CHECKING:
    from highdicom import Volume

    from ..results import Measurement

# What the model was made for; `app.yaml` of the application may set others.
RULES: dict[str, Any] = {
    "body_parts": ["CHEST", "THORAX", "LUNG", "CHESTABDOMEN", "CHESTABDPELVIS"],
    "fewest_slices": 16,
    "thickest_mm": 5.0,
}
NUMBERS = ("volume_mm3", "long_axis_mm", "short_axis_mm", "mean_diameter_mm", "slice_index")  # of each finding
EXIT = {"done": 0, "failed": 1, "refused": 2}


@dataclass
class Case:
    """One input folder on its way through the application; each step fills in its part.

    ``status`` is "running" until a step ends it: "refused" (the input is not what the application is for), "failed" (an
    error of the application), "done". ``series`` lists what was in the input, and why it was taken or not.
    """

    bundle: Bundle
    rules: dict[str, Any] = field(default_factory=lambda: dict(RULES))
    runner: str = "plain"
    status: str = "running"
    reason: str = ""
    series: list[dict[str, Any]] = field(default_factory=list)
    images: list[Dataset] = field(default_factory=list)
    volume: Volume | None = None
    mask: Volume | None = None
    measurements: list[Measurement] = field(default_factory=list)
    objects: dict[str, Dataset] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        """What ``result.json`` holds: UIDs and numbers, nothing that names a patient or changes by the day."""
        return {
            "status": self.status,
            "reason": self.reason,
            "runner": self.runner,
            "application": {"name": "radkit-lung-nodule", "version": __version__, "model": self.bundle.name},
            "study": str(self.images[0].StudyInstanceUID) if self.images else None,
            "series": self.series,
            "findings": [
                {
                    "segment": number,
                    **{name: getattr(found, name) for name in NUMBERS},
                    "centroid_lps_mm": list(found.centroid),
                }
                for number, found in enumerate(self.measurements, start=1)
            ],
            "files": {name: str(dataset.SOPInstanceUID) for name, dataset in self.objects.items()},
        }


def choose_series(case: Case, groups: Sequence[Sequence[Dataset]]) -> Sequence[Dataset]:
    """Choose the axial chest CT with the thinnest slices; say of every other series why it was left aside.

    Returns the images of that series, or nothing (then the case is refused).
    """
    fits: list[tuple[float, int, int]] = []
    for place, group in enumerate(groups):
        reason = _unfit(group, case.rules)
        case.series.append(_describe(group, reason))
        if not reason:
            fits.append((float(group[0].get("SliceThickness") or 0), -len(group), place))
    studies = {str(groups[place][0].StudyInstanceUID) for *_, place in fits}
    if len(studies) > 1:
        raise DicomError(f"expected the images of one study, found chest CTs of {len(studies)}")
    if not fits:
        raise DicomError("no series of the input is an axial chest CT that the model was made for")
    chosen = min(fits)[-1]
    for *_, place in fits:
        if place != chosen:
            case.series[place]["reason"] = "another series of the study has thinner slices, or more"
    case.series[chosen]["chosen"] = True
    case.images = list(groups[chosen])
    return case.images


def find(case: Case) -> None:
    """Read the chosen series as the notebook does, and let the model find what it takes for nodules."""
    case.volume = read_series(case.images)
    case.mask = find_nodules(case.volume, case.bundle, progress=False)


def measure_findings(case: Case) -> None:
    """Measure each candidate; the first is the largest."""
    assert case.mask is not None
    case.measurements = [measure(case.mask, label=int(n)) for n in np.unique(case.mask.array) if n]


def segment(case: Case) -> None:
    """Make the SEG."""
    if case.measurements and case.mask is not None:
        case.objects["segmentation.dcm"] = write_segmentation(case.mask, case.images)


def report(case: Case) -> None:
    """Make the measurement report, and check both objects against the images before they leave."""
    if not case.measurements:
        return
    segmentation = case.objects["segmentation.dcm"]
    case.objects["report.dcm"] = write_report(case.measurements, case.images, segmentation)
    if wrong := check(list(case.objects.values()), case.images):
        raise RadkitError(" ".join(wrong))


def deliver(case: Case, output: Path) -> None:
    """Write everything beside the output, then move it there; ``result.json`` comes last and says that all is there."""
    output.mkdir(parents=True, exist_ok=True)
    staging = output / ".partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    if case.status == "running":
        case.status = "done"
    if case.status != "done":
        case.objects, case.measurements = {}, []
    try:
        for name, dataset in case.objects.items():
            dataset.save_as(staging / name, enforce_file_format=True)
        (staging / "result.json").write_text(json.dumps(case.result(), indent=2) + "\n", encoding="utf-8")
        for name in (*case.objects, "result.json"):
            (staging / name).replace(output / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


STEPS: dict[str, Callable[[Case], None]] = {
    "finding nodules": find,
    "measuring": measure_findings,
    "writing the segmentation": segment,
    "writing the report": report,
}


def attempt(case: Case, saying: str, step: Callable[[Case], Any]) -> Any:
    """Take one step unless the case has ended; an unfit input ends it as refused, any other error as failed."""
    if case.status != "running":
        return None
    print(f"[radkit] {saying}", flush=True)
    try:
        return step(case)
    except (DicomError, ModelError) as error:
        case.status, case.reason = "refused", str(error)
    except Exception as error:
        traceback.print_exc()
        case.status, case.reason = "failed", f"{type(error).__name__}: {error}"
    return None


def run_steps(input_folder: Path, output: Path, bundle: Bundle, *, rules: dict[str, Any] | None = None) -> Case:
    """Run the application's steps in this process, without the SDK.

    Parameters
    ----------
    input_folder : Path
        DICOM files; the chest CT is chosen among its series.
    output : Path
        Where segmentation.dcm, report.dcm and result.json go.
    bundle : Bundle
        The model.
    rules : dict, optional
        Over `RULES`.

    Returns
    -------
    Case
        With its status, its measurements and its objects.
    """
    case = Case(bundle, rules={**RULES, **(rules or {})})
    attempt(case, "choosing the series", lambda case: choose_series(case, by_series(read_headers(input_folder))))
    for saying, step in STEPS.items():
        attempt(case, saying, step)
    deliver(case, output)
    return case


def by_series(headers: Sequence[Dataset]) -> list[list[Dataset]]:
    """Sort headers into series, in the order of their UIDs: the order of the files plays no part."""
    groups: dict[str, list[Dataset]] = {}
    for header in headers:
        groups.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    return [groups[uid] for uid in sorted(groups)]


def _describe(group: Sequence[Dataset], reason: str) -> dict[str, Any]:
    first = group[0]
    return {
        "uid": str(first.get("SeriesInstanceUID", "")),
        "modality": str(first.get("Modality", "")),
        "images": len(group),
        "chosen": False,
        "reason": reason,
    }


def _unfit(group: Sequence[Dataset], rules: dict[str, Any]) -> str:
    """Why a series is not for this application; empty if it is."""
    first = group[0]
    if any(image.get("SOPClassUID") != CTImageStorage for image in group):
        return "not CT images"
    if "LOCALIZER" in (first.get("ImageType") or []):
        return "a localizer, not slices"
    body_part = str(first.get("BodyPartExamined") or "").upper()
    if body_part and body_part not in rules["body_parts"]:
        return f"body part {body_part}, not the chest"
    cosines = np.array(first.get("ImageOrientationPatient") or [0] * 6, float)
    if abs(np.cross(cosines[:3], cosines[3:])[2]) < 0.9:
        return "the slices are not axial"
    if len(group) < rules["fewest_slices"]:
        return f"{len(group)} slices, at least {rules['fewest_slices']} are needed"
    if float(first.get("SliceThickness") or 0) > rules["thickest_mm"]:
        return f"slices {float(first.SliceThickness):g} mm thick, at most {rules['thickest_mm']:g} mm are allowed"
    return ""
