"""What a cohort says of itself: its data sheet, and the table that a notebook shows."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from radkit._optional import optional
from radkit.dicom.table import Table, counted
from radkit.errors import MissingDependency

if TYPE_CHECKING:
    from .cohorts import Cohort
    from .study import Study

_PICTURES = 8
# After Gebru et al., Datasheets for Datasets, CACM 2021;64(12):86-92: the questions that a grown cohort can answer.
_TEXT = """# Data sheet: {name}, seed {seed}

**Nobody was imaged. Grown by radkit for teaching and prototyping, never for diagnosis.**

## What it is for
{studies} of {people}, to learn how a model is trained and judged where the truth is known exactly.

## What is in it
Each study has {images}, on one grid of {grid}; the labels number the lesions from 1.

{groups}

{lesions}

## How it was made
Each body is cut out of, or deformed from, the images below; lesions, noise and the scanner's signature are added by
code. The same name, seed and knobs give the same bytes again: {knobs}.

{sources}

## Who drew the label
{label} `mask` is the label as drawn, `truth` is exact.

## What it must not be used for
- To claim that a model works on patients: what one program grows is more alike, and easier, than people are.
- To claim that it works on other anatomy: all of it comes from {anatomies}.
- As real images: never pass them on as such, and never send them to an archive of patients.
{marker}"""


class Sheet(str):
    """A data sheet in Markdown, which a notebook sets."""

    def _repr_markdown_(self) -> str:
        return str(self)


def write_sheet(cohort: Cohort) -> Sheet:
    """Return the data sheet of a cohort."""
    sizes = sorted(lesion.diameter_mm for study in cohort for lesion in study.lesions)
    sources = {study.anatomy: study.made_from for study in cohort}
    lesions = f"{counted(len(sizes), 'lesion')}"
    if sizes:
        lesions += f", {sizes[0]:.1f} to {sizes[-1]:.1f} mm across, half of them above {sizes[len(sizes) // 2]:.1f} mm "
        lesions += f"(the sphere of the same volume): {_kinds(cohort)}."
    label, marker = "Nobody: a voxel is a lesion's if more than half of it is.", ""
    if noise := cohort.knobs["label_noise"]:
        missed = sum(not (s.mask.array == lesion.number).any() for s in cohort for lesion in s.lesions)
        label = (
            f"One simulated reader, whose outline strays from the true surface by {noise:g} mm (standard deviation), "
            f"in part by habit, and who overlooked {missed} of {counted(len(sizes), 'lesion')}."
        )
    if marked := sum(study.marked for study in cohort):
        marker = (
            f"- To judge a model without care: {counted(marked, 'study', 'studies')} bear a marker that the site South "
            "burned in, and lesions are not as frequent there as elsewhere. A model may learn the marker.\n"
        )
    return Sheet(
        _TEXT.format(
            name=cohort.name,
            seed=cohort.seed,
            studies=counted(len(cohort), "study", "studies"),
            people=counted(len(cohort.patients), "person who never was", "people who never were"),
            images=", ".join(cohort[0].images) if cohort else "no image",
            grid=" or ".join(sorted({study.grid for study in cohort})) or "no voxels",
            groups="\n".join(_groups(cohort)),
            lesions=lesions,
            knobs=", ".join(f"`{knob}={value!r}`" for knob, value in cohort.knobs.items()),
            sources="\n".join(f"- `{anatomy}`: {made_from}" for anatomy, made_from in sources.items()),
            label=label,
            anatomies=counted(len(sources), "anatomy", "anatomies"),
            marker=marker,
        )
    )


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
    rows = [
        (
            *(str(value) for value in (s.patient, s.time, s.sex, s.age, s.site, s.scanner, len(s.lesions) or "")),
            f"{sum(lesion.volume_mm3 for lesion in s.lesions) / 1000:.2f} ml" if s.lesions else "",
        )
        for s in cohort
    ]
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
