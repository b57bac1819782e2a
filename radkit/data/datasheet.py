"""What a cohort says of itself: its data sheet, and the table that a notebook shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from radkit.dicom.table import Table, counted

from .study import Study

if TYPE_CHECKING:
    from .cohorts import Cohort

_ROWS = 8
# After Gebru et al., Datasheets for Datasets, CACM 2021;64(12):86-92: the questions that a grown cohort can answer.
_TEXT = """# Data sheet: {name}, seed {seed}

**Nobody was imaged. Grown by radkit for teaching and prototyping, never for diagnosis.**

## What it is for
{studies} of {people}, to learn how a model is trained and judged where the truth is known exactly.

## What is in it
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
    lesions = [lesion for study in cohort for lesion in study.lesions]
    sources = {study.anatomy: study.made_from for study in cohort}
    marked, noise = sum(study.marked for study in cohort), cohort.knobs["label_noise"]
    missed = sum(not (s.mask.array == lesion.number).any() for s in cohort for lesion in s.lesions) if noise else 0
    return Sheet(
        _TEXT.format(
            name=cohort.name,
            seed=cohort.seed,
            studies=counted(len(cohort), "study", "studies"),
            people=counted(len(cohort.patients), "person who never was", "people who never were"),
            groups=_groups(cohort),
            lesions=_lesions(lesions),
            knobs=", ".join(f"`{knob}={value!r}`" for knob, value in cohort.knobs.items()),
            sources="\n".join(f"- `{anatomy}`: {made_from}" for anatomy, made_from in sources.items()),
            label="Nobody: a voxel is a lesion's if more than half of it is."
            if not noise
            else f"One simulated reader. The outline strays from the true surface by {noise:g} mm (standard deviation), in "
            f"part by habit; {missed} of {counted(len(lesions), 'lesion')} were overlooked.",
            anatomies=counted(len(sources), "anatomy", "anatomies"),
            marker=f"- To measure a model without care: {counted(marked, 'study', 'studies')} bear a marker burned in at "
            "the site South, where lesions are more, or less, frequent. A model may learn the marker.\n"
            if marked
            else "",
        )
    )


def _groups(cohort: Cohort) -> str:
    """Return how many patients there are of each group, and how many of them ever have a lesion."""
    groups: dict[str, Callable[[Study], str]] = {
        "All": lambda s: "",
        "Site": lambda s: s.site,
        "Scanner": lambda s: s.scanner,
        "Sex": lambda s: s.sex,
        "Age": lambda s: f"{s.age // 10 * 10} to {s.age // 10 * 10 + 9}",
        "Anatomy": lambda s: s.anatomy,
    }
    rows = ["| group | patients | with a lesion |", "|---|---:|---:|"]
    for title, of in groups.items():
        all_of = Counter(of(person[0]) for person in cohort.patients.values())
        ill = Counter(of(person[0]) for person in cohort.patients.values() if any(s.has_lesion for s in person))
        rows += [
            f"| {title} {value} | {n} | {ill[value]} ({ill[value] / n:.0%}) |" for value, n in sorted(all_of.items())
        ]
    return "\n".join(rows)


def _lesions(lesions: list[Any]) -> str:
    """Return how many lesions there are, how large, and of which kinds."""
    if not lesions:
        return "No lesion."
    sizes = sorted(lesion.diameter_mm for lesion in lesions)
    kinds = Counter(f"{key} {value}" for x in lesions for key, value in x.attributes.items() if isinstance(value, str))
    return (
        f"{counted(len(lesions), 'lesion')}, {sizes[0]:.1f} to {sizes[-1]:.1f} mm across, median "
        f"{sizes[len(sizes) // 2]:.1f} mm. " + ", ".join(f"{kind}: {n}" for kind, n in sorted(kinds.items())) + "."
    )


class Studies(Table):
    """Studies of a cohort, a row each."""

    columns: ClassVar[tuple[str, ...]] = ("Patient", "Time", "Sex", "Age", "Site", "Scanner", "Lesions", "Together")


def as_html(cohort: Cohort) -> str:
    """Return pictures and a table of the first studies."""
    rows = [
        (
            *(str(value) for value in (s.patient, s.time, s.sex, s.age, s.site, s.scanner, len(s.lesions) or "")),
            f"{sum(lesion.volume_mm3 for lesion in s.lesions) / 1000:.2f} ml" if s.lesions else "",
        )
        for s in cohort.studies[:_ROWS]
    ]
    ill = sum(any(study.has_lesion for study in person) for person in cohort.patients.values())
    first = f", the first {_ROWS}" if len(cohort) > _ROWS else ""
    return Studies(f"{cohort!r}, {ill} of them with a lesion{first}", rows)._repr_html_()
