"""What a cohort says of itself: its data sheet, and the table that a notebook shows."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import yaml

from radkit._optional import optional
from radkit.dicom.table import Table, counted
from radkit.errors import MissingDependency

if TYPE_CHECKING:
    from .cohorts import Cohort
    from .study import Study

_PICTURES = 8
_WORDS: dict[str, str] = yaml.safe_load(Path(__file__).with_name("datasheet.yaml").read_text("utf-8"))


class Sheet(str):
    """A data sheet in Markdown, which a notebook sets."""

    def _repr_markdown_(self) -> str:
        return str(self)


def write_sheet(cohort: Cohort) -> Sheet:
    """Return the data sheet of a cohort."""
    sources = {study.anatomy: study.made_from for study in cohort}
    facts = {
        "name": cohort.name,
        "seed": cohort.seed,
        "studies": counted(len(cohort), "study", "studies"),
        "people": counted(len(cohort.patients), "person who never was", "people who never were"),
        "images": ", ".join(cohort[0].images) if cohort else "no image",
        "grid": " or ".join(sorted({study.grid for study in cohort})) or "no voxels",
        "groups": "\n".join(_groups(cohort)),
        "knobs": ", ".join(f"`{knob}={value!r}`" for knob, value in cohort.knobs.items()),
        "sources": "\n".join(f"- `{anatomy}`: {made_from}" for anatomy, made_from in sources.items()),
        "anatomies": counted(len(sources), "anatomy", "anatomies"),
    }
    sizes = sorted(lesion.diameter_mm for study in cohort for lesion in study.lesions)
    lesions, measured, marker = counted(len(sizes), "lesion"), "", ""
    if sizes:
        low, middle, high = sizes[0], sizes[len(sizes) // 2], sizes[-1]
        measured = _WORDS["sizes"].format(low=low, middle=middle, high=high, kinds=_kinds(cohort))
    noise = cohort.knobs["label_noise"]
    missed = sum(not (s.mask.array == lesion.number).any() for s in cohort for lesion in s.lesions)
    label = _WORDS["drawn" if noise else "exact"].format(noise=noise, missed=missed, lesions=lesions)
    if marked := sum(study.marked for study in cohort):
        marker = _WORDS["marker"].format(marked=counted(marked, "study", "studies"))
    text = _WORDS["sheet"].format(**facts, lesions=lesions, sizes=measured, label=label, marker=marker)
    return Sheet(text.rstrip() + "\n")


def _kinds(cohort: Cohort) -> str:
    """Return how many lesions there are of each kind."""
    kinds = (lesion.attributes.items() for study in cohort for lesion in study.lesions)
    told = {"density", "margin", "place"} | ({"change"} if cohort.knobs["times"] > 1 else set())
    many = Counter(f"{key} {value}" for each in kinds for key, value in each if key in told)
    return ", ".join(f"{kind} {n}" for kind, n in sorted(many.items()))


def _groups(cohort: Cohort) -> Iterator[str]:
    """Yield the rows of a table: how many patients of each group there are, and how many of them ever have a lesion."""
    yield "| group | patients | of them with a lesion |\n|---|---:|---:|"
    people = list(cohort.patients.values())
    for key in ("all", "site", "scanner", "sex", "age", "anatomy"):
        groups: dict[str, list[bool]] = {}
        for person in people:
            decade = person[0].age // 10 * 10
            value = f"{decade} to {decade + 9}" if key == "age" else getattr(person[0], key, "")
            groups.setdefault(f"{key} {value}", []).append(any(study.has_lesion for study in person))
        for group, ill in sorted(groups.items()):
            yield f"| {group} | {len(ill)} | {sum(ill)} ({sum(ill) / len(ill):.0%}) |"


class Studies(Table):
    """Studies of a cohort, a row each."""

    columns: ClassVar[tuple[str, ...]] = ("Patient", "Time", "Sex", "Age", "Site", "Scanner", "Lesions", "Together")


def as_html(cohort: Cohort) -> str:
    """Return pictures of the first studies, and a table of all."""
    rows = []
    for s in cohort:
        volume = f"{sum(lesion.volume_mm3 for lesion in s.lesions) / 1000:.2f} ml" if s.lesions else ""
        told = (s.patient, s.time, s.sex, s.age, s.site, s.scanner, len(s.lesions) or "", volume)
        rows.append(tuple(str(value) for value in told))
    return "".join(map(_picture, cohort.studies[:_PICTURES])) + Studies(repr(cohort), rows)._repr_html_()


def _picture(study: Study) -> str:
    """Return the slice with most lesion of a study, where Pillow is there to make a picture of it."""
    try:
        pillow, file = optional("PIL.Image"), BytesIO()
    except MissingDependency:
        return ""
    area, image = (study.truth.array > 0).sum(axis=(1, 2)), [*study.images.values()][-1].array
    low, high = (-1350, 150) if "ct" in study.images else np.quantile(image, (0.1, 0.999))
    shown = image[area.argmax() if area.any() else len(image) // 2]
    pillow.fromarray(np.uint8(255 * np.clip((shown - low) / (high - low), 0, 1))).save(file, "png")
    title = f"{study.patient}, time {study.time}, {'with' if study.has_lesion else 'without'} a lesion"
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<img style="width: 11%; margin: 0.4%; display: inline" alt="{title}" title="{title}" src="{source}">'
