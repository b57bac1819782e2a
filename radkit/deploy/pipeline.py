"""The nodule application, step by step: choose the series, read, find, measure, write SEG and SR, deliver.

Each step is a plain function on one `Case`. The MONAI Deploy application takes them in operators; where its SDK cannot
be had (macOS, Windows) `run_steps` calls the same functions in the same order.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, MediaStorageDirectoryStorage

from .. import __version__
from ..dicom import read_headers, read_series
from ..dicom.frames import frames_of
from ..dicom.geometry import Stack
from ..errors import DeployError, DicomError, ModelError, RadkitError
from ..model import Bundle, keep_inside_lungs, predict
from ..model.inference import find_lungs
from ..results import check, measure, write_report, write_segmentation

if TYPE_CHECKING:
    from ..results.measurement import Measurement

# What the model was made for; `app.yaml` in a MAP may set others.
RULES = yaml.safe_load(Path(__file__).with_name("nodule_app").joinpath("app.yaml").read_text("utf-8"))["rules"]
FITS: dict[str, Callable[[Any], bool]] = {
    "body_parts": lambda rule: isinstance(rule, list) and all(isinstance(part, str) for part in rule),
    "fewest_slices": lambda rule: type(rule) is int and rule > 0,
    "thickest_mm": lambda rule: type(rule) in (int, float) and rule > 0,
}
NUMBERS = ("volume_mm3", "long_axis_mm", "short_axis_mm", "mean_diameter_mm", "slice_index")  # of each finding
EXIT = {"done": 0, "failed": 1, "refused": 2}


@dataclass
class Case:
    """One input folder on its way through the application: "running" until a step ends it; `result` tells the rest."""

    bundle: Bundle
    rules: dict[str, Any] = field(default_factory=lambda: dict(RULES))
    runner: str = "plain"
    status: str = "running"
    reason: str = ""
    series: list[dict[str, Any]] = field(default_factory=list)
    images: list[Dataset] = field(default_factory=list)
    volume: Any = None  # a highdicom.Volume each, once its step is taken
    lungs: Any = None
    mask: Any = None
    measurements: list[Measurement] = field(default_factory=list)
    objects: dict[str, Dataset] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        """What ``result.json`` holds: UIDs and numbers, nothing that names a patient or changes by the day.

        ``status`` is "done", "refused" (wrong input; exit status 2) or "failed" (an error; exit status 1), ``reason``
        why it was not done; ``runner`` is "plain", or the SDK and its version; ``study`` is the StudyInstanceUID of the
        images that were looked at, or null. Each of the ``series`` has a ``reason`` why it was left aside, "" for the
        one that was ``chosen``. The ``slice_index`` of a finding counts from the lowest slice, ``centroid_lps_mm`` is
        [x, y, z]. ``files`` gives the SOPInstanceUID of each DICOM file beside it.
        """
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
                    "centroid_lps_mm": [*found.centroid],
                }
                for number, found in enumerate(self.measurements, start=1)
            ],
            "files": {name: str(dataset.SOPInstanceUID) for name, dataset in self.objects.items()},
        }


def set_rules(case: Case, rules: Any) -> None:
    """Put rules, or those of an ``app.yaml``, over `RULES`; a DeployError if they are none."""
    if isinstance(rules, Path):
        config = yaml.safe_load(rules.read_text(encoding="utf-8"))
        rules = config.get("rules", {}) if isinstance(config, dict) else config
    named = rules.items() if isinstance(rules, dict) else [(f"a {type(rules).__name__}", None)]
    if wrong := [str(name) for name, rule in named if name not in FITS or not FITS[name](rule)]:
        raise DeployError(
            f"rules of app.yaml: {', '.join(wrong)} cannot be used. Expected body_parts, a list of words, "
            "fewest_slices, a whole number, and thickest_mm, a number, above 0."
        )
    case.rules |= rules


def choose_series(case: Case, headers: Sequence[Dataset]) -> None:
    """Choose the axial chest CT with the thinnest slices; say of every other series why it was left aside.

    Raises
    ------
    DicomError
        If there is none, or there are chest CTs of several studies.
    """
    groups = by_series(headers)
    fits: list[tuple[float, int, int]] = []
    for place, group in enumerate(groups):
        if not (reason := _unfit(group, case.rules)):
            fits.append((float(group[0].get("SliceThickness") or 0), -len(group), place))
        uid, modality = (str(group[0].get(name, "")) for name in ("SeriesInstanceUID", "Modality"))
        case.series.append({"uid": uid, "modality": modality, "images": len(group), "chosen": False, "reason": reason})
    studies = {str(groups[place][0].StudyInstanceUID) for *_, place in fits}
    if len(studies) > 1:
        raise DicomError(f"expected the images of one study, found chest CTs of {len(studies)}")
    if not fits:
        raise DicomError("no series of the input is an axial chest CT that the model was made for")
    *_, chosen = min(fits)
    for *_, place in fits:
        case.series[place]["reason"] = "another series of the study has thinner slices, or more"
    case.series[chosen] |= {"chosen": True, "reason": ""}
    case.images = groups[chosen]


def read(case: Case) -> None:
    """Read the chosen series as the notebook does, and refuse it unless there are lungs in it."""
    case.volume = read_series(case.images, progress=False)
    case.lungs = find_lungs(case.volume)


def look(case: Case) -> None:
    """Let the model mark what it takes for nodules."""
    case.mask = predict(case.volume, case.bundle, progress=False)


def keep(case: Case) -> None:
    """Number what lies inside the lungs, the largest first."""
    case.mask = keep_inside_lungs(case.mask, case.volume, inside=case.lungs)


def measure_findings(case: Case) -> None:
    """Measure each candidate; the first is the largest."""
    case.measurements = [measure(case.mask, label=n + 1) for n in range(int(case.mask.array.max()))]


def segment(case: Case) -> None:
    """Make the SEG."""
    if case.measurements:
        case.objects["segmentation.dcm"] = write_segmentation(case.mask, case.images)


def report(case: Case) -> None:
    """Make the report, of the findings or of there being none, check all against the images, and be done."""
    segmentation = case.objects.get("segmentation.dcm")
    kind, site = (None, None) if segmentation else ("nodule", "lung")  # else the segments say it
    report = write_report(case.measurements, case.images, segmentation, kind=kind, site=site)
    case.objects["report.dcm"] = report
    if wrong := check(list(case.objects.values()), case.images):
        raise RadkitError(" ".join(wrong))
    case.status = "done"


def deliver(case: Case, output: Path) -> None:
    """Write everything beside the output, then move it there; ``result.json`` comes last and says that all is there."""
    output.mkdir(parents=True, exist_ok=True)
    staging = output / ".partial"
    shutil.rmtree(staging, ignore_errors=True)
    if case.status == "running":  # stopped from outside: no step was wrong, and yet not all were taken
        case.status, case.reason = "failed", "the application was stopped before its end"
    if case.status != "done":
        case.objects, case.measurements = {}, []
    guarded = threading.current_thread() is threading.main_thread()  # no other may; a SIGTERM then passes unheard
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN) if guarded else None
    try:
        staging.mkdir()
        for name, dataset in case.objects.items():
            dataset.save_as(staging / name, enforce_file_format=True)
        (staging / "result.json").write_text(json.dumps(case.result(), indent=2) + "\n", encoding="utf-8")
        for name in (*case.objects, "result.json"):
            (staging / name).replace(output / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if guarded:
            signal.signal(signal.SIGTERM, before)


STEPS: dict[str, Callable[[Case], None]] = {
    "reading the volume": read,
    "finding nodules": look,
    "keeping what lies in the lungs": keep,
    "measuring": measure_findings,
    "writing the segmentation": segment,
    "writing the report": report,
}


def attempt(case: Case, saying: str, step: Callable[[Case], Any]) -> None:
    """Take one step unless the case has ended; an unfit input ends it as refused, any other error as failed.

    Of an error that is not radkit's own the reason holds the kind alone: its text, which may quote a patient's values,
    is for the log.
    """
    if case.status != "running":
        return
    print(f"[radkit] {saying}", flush=True)
    try:
        step(case)
    except Exception as error:
        unfit = case.lungs is None and isinstance(error, (DicomError, ModelError))
        if not unfit:
            traceback.print_exc()
        said = str(error) if isinstance(error, RadkitError) else f"{type(error).__name__}; the log holds more"
        if case.status == "running":
            case.status, case.reason = ("refused", said) if unfit else ("failed", f"{saying}: {said}")


def run_steps(
    input_folder: Path,
    output: Path,
    bundle: Bundle,
    *,
    rules: dict[str, Any] | Path | None = None,
    runner: str = "plain",
    engine: Callable[[Case], None] | None = None,
) -> Case:
    """Run the application's steps in this process, on the chest CT that is chosen among the series of a folder.

    segmentation.dcm, report.dcm and result.json go to the output; the first not where there is no finding, the last
    alone where there is no success. Rules, or those of an ``app.yaml``, go over `RULES`. The runner, who takes the
    steps, is named in result.json. The engine (the MONAI Deploy application) takes them once the series is chosen; by
    default they are taken one by one.
    """
    case = Case(bundle, runner=runner)
    attempt(case, "reading the rules", lambda case: set_rules(case, rules or {}))
    attempt(case, "choosing the series", lambda case: choose_series(case, read_headers(input_folder)))
    if engine:
        attempt(case, "starting", engine)
    else:
        for saying, step in STEPS.items():
            attempt(case, saying, step)
    deliver(case, output)
    return case


def by_series(headers: Sequence[Dataset]) -> list[list[Dataset]]:
    """Sort headers into series, in the order of their UIDs; of copies of one instance the first is taken."""
    groups: dict[str, dict[str, Dataset]] = {}
    for header in headers:
        if header.file_meta.get("MediaStorageSOPClassUID") != MediaStorageDirectoryStorage:  # a DICOMDIR is no image
            group = groups.setdefault(str(header.get("SeriesInstanceUID", "")), {})
            group.setdefault(str(header.get("SOPInstanceUID") or len(group)), header)
    return [list(groups[uid].values()) for uid in sorted(groups)]


def _unfit(group: Sequence[Dataset], rules: dict[str, Any]) -> str:
    """Why a series is not for this application; empty if it is."""
    first, kinds = group[0], {image.get("SOPClassUID") for image in group}
    if EnhancedCTImageStorage in kinds:
        return "an enhanced CT, many slices in one object; the application takes one slice an object"
    if kinds != {CTImageStorage}:
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
    try:
        Stack([frame for image in group for frame in frames_of(image)]).check(None)
    except DicomError as error:  # a missing slice, two orientations, a tilted gantry
        return str(error)
    return ""
