"""A cohort: studies to choose from, to part without mixing people, to describe and to write."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from tqdm import tqdm

from radkit.dicom.table import counted
from radkit.errors import DataError

from .datasheet import Sheet, as_html, write_sheet
from .study import Study, new_folder

_ATTRIBUTES = ("patient", "time", "site", "scanner", "sex", "age", "anatomy", "marked", "has_lesion")


@dataclass(frozen=True, eq=False, repr=False)
class Cohort(Sequence[Study]):
    """Studies, by patient and time; a slice of them is a cohort too.

    ``name``, ``seed`` and ``knobs`` are what it was grown by: the same again give the same bytes.
    """

    name: str
    seed: int
    knobs: dict[str, Any]
    studies: tuple[Study, ...]

    def __len__(self) -> int:
        return len(self.studies)

    @overload
    def __getitem__(self, index: int) -> Study: ...
    @overload
    def __getitem__(self, index: slice) -> Cohort: ...
    def __getitem__(self, index: int | slice) -> Study | Cohort:
        return self._of(self.studies[index]) if isinstance(index, slice) else self.studies[index]

    def __repr__(self) -> str:
        many = f"{counted(len(self), 'study', 'studies')} of {counted(len(self.patients), 'patient')}"
        return f"Cohort({self.name}, seed {self.seed}: {many})"

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def patients(self) -> dict[str, list[Study]]:
        """The studies of each patient."""
        people: dict[str, list[Study]] = {}
        for study in self:
            people.setdefault(study.patient, []).append(study)
        return people

    @property
    def sheet(self) -> Sheet:
        """The data sheet, in Markdown (Gebru et al., CACM 2021;64(12):86-92)."""
        return write_sheet(self)

    def where(self, **conditions: Any) -> Cohort:
        """Return the studies whose attributes are as asked: a value, one of several, or what a function says yes to.

        ``cohort.where(site="North", scanner=("A", "B"), age=lambda years: years >= 65)``; a name that is no attribute
        of a study is a DataError.
        """
        if unknown := sorted(set(conditions) - set(_ATTRIBUTES)):
            raise DataError(f"Expected conditions on {', '.join(_ATTRIBUTES)}; got {', '.join(unknown)}")
        return self._of(s for s in self if all(_fits(getattr(s, key), asked) for key, asked in conditions.items()))

    def split(self, share: float = 0.25, *, by: str = "patient", seed: int = 0) -> tuple[Cohort, Cohort]:
        """Part the cohort: what to learn from, and the `share` of the patients (or anatomies) that is held out.

        All time points of a patient stay together; with `by` "anatomy", so does all that was grown from one anatomy.
        Each half gets its part of those who have a lesion. Another `seed`, another draw. What cannot be parted, or not
        so, is a DataError.
        """
        if by not in ("patient", "anatomy") or not 0 < share < 1:
            raise DataError(f'Expected by="patient" or "anatomy" and a share between 0 and 1, got {by!r} and {share!r}')
        ill: dict[str, bool] = {}
        for study in self:
            ill[getattr(study, by)] = ill.get(getattr(study, by), False) or study.has_lesion
        if len(ill) < 2:
            advice = 'split by="patient"' if by == "anatomy" and len(self.patients) > 1 else "grow a larger cohort"
            raise DataError(f"Expected at least two to part by {by}, got {', '.join(ill) or 'none'}: {advice}")
        order = sorted(np.random.default_rng(seed).permutation(sorted(ill)).tolist(), key=ill.__getitem__)
        count = min(max(1, round(share * len(order))), len(order) - 1)
        held = {order[int((i + 0.5) * len(order) / count)] for i in range(count)}  # evenly: the healthy, then the ill
        halves = [[s for s in self if (getattr(s, by) in held) == out] for out in (False, True)]
        return self._of(halves[0]), self._of(halves[1])

    def write(self, folder: str | Path, *, progress: bool = True) -> Path:
        """Write each study to a folder of its own, as ``Study.write`` does, and the data sheet as ``sheet.md``.

        Returns the folder. It must not exist (DataError), and appears when all is written.
        """
        if wrong := sum(Path(f"{study.patient}-").name != f"{study.patient}-" for study in self):
            raise DataError(f"Expected patients whose names can be those of folders; {wrong} hold / or \\: rename them")
        with new_folder(folder) as part:
            for study in tqdm(self, "Writing", unit="study", leave=False, file=sys.stdout, disable=not progress):
                study.write(part / f"{study.patient}-{study.time}")
            (part / "sheet.md").write_text(self.sheet, encoding="utf-8")
        return Path(folder)

    def _of(self, studies: Iterable[Study]) -> Cohort:
        return replace(self, studies=tuple(studies))


def _fits(value: Any, asked: Any) -> bool:
    if callable(asked):
        return bool(asked(value))
    return value in asked if isinstance(asked, (tuple, list, set, range)) else value == asked
