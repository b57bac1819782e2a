"""Grow a cohort: a lot decides who comes, the body is grown from real anatomy, a reader draws the label."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from tqdm import tqdm

from radkit.errors import DataError

from .cache import Fetched, fetch
from .cohorts import Cohort
from .study import Lesion, Study
from .volumes import read, read_any, read_labels

_SHARES = 20  # in so many patients shares are as asked: with a prevalence of 0.3, 6 of 20 have a lesion
_BASES = {
    "brain-lesions": ("brain-atlas",),
    "chest-nodules": ("chest-ct", "chest-ct-lung1", "chest-ct-lung2", "chest-ct-aorta"),
}
_OWN_NODULE = (57.6, 86.3, -115.0)  # where the nodule of chest-ct lies, LPS mm
_BODIES: dict[Path, Any] = {}  # what takes seconds to read is kept for the next cohort
_WHOLE, _MAY_BE_NONE = ("n", "seed", "times"), ("thickness_mm", "shortcut")
_RANGES: dict[str, tuple[float, float]] = {
    **{"n": (1, 10**7), "seed": (0, 2**63), "times": (1, 12), "dose": (0.05, 4), "thickness_mm": (0.5, 10)},
    **{"prevalence": (0, 1), "women": (0, 1), "shortcut": (0, 1), "label_noise": (0, 10)},
}


def cohort(
    name: str,
    n: int = 60,
    seed: int = 0,
    *,
    scanner: str | Sequence[str] = "A",
    dose: float = 1.0,
    thickness_mm: float | None = None,
    prevalence: float = 1.0,
    women: float = 0.5,
    age: tuple[int, int] = (50, 80),
    label_noise: float = 0.0,
    shortcut: float | None = None,
    times: int = 1,
    anatomies: Sequence[str] | None = None,
    stand_in: bool | None = None,
    progress: bool = True,
) -> Cohort:
    """Grow a cohort of labelled studies from real anatomy: invented people, exact truth.

    The same name, seed and knobs give the same bytes on every machine, and patient k is the same in a cohort of 20 and
    of 60. Turn one knob, and the same people are imaged another way.

    Parameters
    ----------
    name : str
        "chest-nodules" (CT with lung nodules) or "brain-lesions" (T1, T2 and FLAIR with bright lesions).
    n, seed : int
        How many patients; another seed, other people.
    scanner : str or sequence of str
        Whose signature the images bear; several get even shares.
    dose : float
        1 is normal; a quarter doubles the noise (MR: fewer averages).
    thickness_mm : float, optional
        Slice thickness; default: the scanner's.
    prevalence, women : float
        Share of patients with a lesion, and of women: exact, to the nearest patient, in every twenty.
    age : (int, int)
        Of the youngest and the oldest at the first time point, years.
    label_noise : float
        How far the drawn label wanders from the truth (standard deviation, mm); small lesions may be overlooked.
    shortcut : float, optional
        The site "South" burns a marker into its images; a patient with a lesion goes there with this probability, one
        without with 1 minus it. Default: no marker, and half of all go to "North", half to "South".
    times : int
        Time points of each patient, half a year apart: brain lesions grow, shrink and appear.
    anatomies : sequence of str, optional
        Catalog names of what all are grown from, such as ``["chest-ct"]``, for people from whose anatomy a model learnt
        nothing; default: all four chest CTs, or the one brain.
    stand_in : bool, optional
        As in ``fetch``: None takes the real anatomy, and a generated one where that cannot be had.
    progress : bool
        Show a progress bar.

    Raises
    ------
    DataError
        If there is no such cohort or scanner, a knob is out of its range, or the cohort would not fit into memory.
    """
    knobs: dict[str, Any] = {"n": n, "scanner": _several(scanner), "dose": dose, "thickness_mm": thickness_mm}
    knobs |= {"prevalence": prevalence, "women": women, "age": _several(age)}
    knobs |= {"label_noise": label_noise, "shortcut": shortcut, "times": times}
    knobs |= {} if anatomies is None else {"anatomies": _several(anatomies)}
    phantom = _checked(name, seed, knobs)
    bodies = []
    for base in knobs.get("anatomies", _BASES[name]):
        source = fetch(base, stand_in=stand_in, progress=progress)
        if source.folder not in _BODIES:
            _BODIES[source.folder] = _body(source, phantom)
        bodies.append((_BODIES[source.folder], source))
    key, studies = [seed, crc32(name.encode())], list[Study]()
    for number in tqdm(range(n), "Growing", unit="patient", leave=False, file=sys.stdout, disable=not progress):
        studies += _patient(phantom, name, key, number, knobs, bodies)
        if number == 0:
            _refuse_if_too_large(studies, n)
    return Cohort(name, seed, knobs, tuple(studies))


def _several(values: Any) -> tuple[Any, ...]:
    return tuple(np.atleast_1d(values).tolist())


def _checked(name: str, seed: int, knobs: Mapping[str, Any]) -> Any:
    """Return the phantom that grows the cohort `name`, or say which knobs are wrong, and what they may be."""
    if name not in _BASES:
        raise DataError(f"Expected one of the cohorts {', '.join(_BASES)}, got {name!r}")
    phantom, wrong = import_module(f"radkit_phantoms.{name.partition('-')[0]}"), []
    for knob, (low, high) in _RANGES.items():
        value, kind = {**knobs, "seed": seed}[knob], (int, np.integer) if knob in _WHOLE else (int, float, np.number)
        fits = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
        if not fits and not (value is None and knob in _MAY_BE_NONE):
            wrong.append(f"{knob} {'whole, ' * (knob in _WHOLE)}from {low:,} to {high:,} (got {value!r})")
    if not knobs["scanner"] or not set(knobs["scanner"]) <= set(phantom.SCANNERS):
        wrong.append(f"scanner of {', '.join(phantom.SCANNERS)} (got {knobs['scanner']!r})")
    ages = knobs["age"]
    if len(ages) != 2 or not all(isinstance(years, int) for years in ages) or not 18 <= ages[0] <= ages[1] <= 95:
        wrong.append(f"age of the youngest and of the oldest, whole years from 18 to 95 (got {ages!r})")
    if not (chosen := knobs.get("anatomies", _BASES[name])) or not set(chosen) <= set(_BASES[name]):
        wrong.append(f"anatomies of {', '.join(_BASES[name])} (got {chosen!r})")
    if name == "chest-nodules" and knobs["times"] != 1:
        wrong.append(f"times=1 (got {knobs['times']!r}): chest nodules do not change, brain lesions do")
    if wrong:
        raise DataError(f"Expected {'; '.join(wrong)}")
    return phantom


def _even(key: list[int], number: int, what: int) -> float:
    """Draw from [0, 1), evenly in every so many patients: one of them in each part, in shuffled order."""
    rng = np.random.default_rng([*key, number // _SHARES, what, _SHARES])
    return float(rng.permutation(_SHARES)[number % _SHARES] + rng.random()) / _SHARES


def _patient(
    phantom: Any, name: str, key: list[int], number: int, knobs: Mapping[str, Any], bodies: list[tuple[Any, Fetched]]
) -> list[Study]:
    """Grow a patient. Each property has a lot of its own, so that a knob changes nothing but what it is for."""
    lesion, sex, scanner, body, site = (_even(key, number, what) for what in range(5))
    rng = np.random.default_rng([*key, number])
    shape, (young, old) = int(rng.integers(2**31)), knobs["age"]
    age, (anatomy, source) = int(young + rng.random() * (old + 1 - young)), bodies[int(body * len(bodies))]
    ill, shortcut = lesion < knobs["prevalence"], 0.5 if knobs["shortcut"] is None else knobs["shortcut"]
    who: dict[str, Any] = {"sex": "F" if sex < knobs["women"] else "M"}
    who["patient"] = f"{name.partition('-')[0].upper()}-{number:04d}"
    who["site"] = "South" if site < (shortcut if ill else 1 - shortcut) else "North"
    who["scanner"] = knobs["scanner"][int(scanner * len(knobs["scanner"]))]
    who["anatomy"] = source.name
    who["made_from"] = f"{source.title}. {source.attribution} Licence: {source.licence}."
    how = {"scanner": who["scanner"], "dose": knobs["dose"], "thickness_mm": knobs["thickness_mm"]}
    try:
        if name == "chest-nodules":
            grown = [phantom.grow_chest(anatomy, shape, nodules=None if ill else 0, **how)]
        else:
            how |= {"age": age, "sex": who["sex"], "times": knobs["times"]}
            grown = phantom.grow_brain(anatomy, shape, lesions=None if ill else 0, **how)
    except ValueError as error:
        raise DataError(f"Patient {number} of {name!r} cannot be grown from {source.name}: {error}") from error
    studies = []
    for time, (images, truth, facts) in enumerate(grown):
        lesions = tuple(Lesion(**fact) for fact in facts)
        study = Study(time=time, images=images, truth=truth, mask=truth, lesions=lesions, age=age + time // 2, **who)
        if knobs["shortcut"] is not None and study.site == "South":
            study = study.with_marker()
        studies.append(replace(study, mask=study.drawn_by(0, wander_mm=knobs["label_noise"])))
    return studies


def _body(source: Fetched, phantom: Any) -> Any:
    """Read what patients are grown from: the maps of the atlas, or a CT and the lesions of its own."""
    if source.name == "brain-atlas":
        return phantom.Atlas(*(read_any(source.files[key]) for key in ("t1", "gray", "white")))
    image, lesion = read(source), None
    if "nodule" in source.files:  # of a stand-in
        lesion = read_any(source.files["nodule"])
    elif source.name == "chest-ct":  # its nodule has no outline: a ball around it
        centre = (np.linalg.inv(image.affine) @ [*_OWN_NODULE, 1])[:3]
        steps = zip(np.ogrid[tuple(map(slice, image.shape))], centre, image.spacing, strict=True)
        lesion = image.with_array(np.asarray(sum(((at - c) * mm) ** 2 for at, c, mm in steps) < 17**2, np.uint8))
    elif "lung" in source.name:
        lesion = read_labels(source)
    return phantom.Base(image, lesion)


def _refuse_if_too_large(studies: list[Study], n: int) -> None:
    """Refuse what would take more than half of the memory (of 8 GB, where it is not known)."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 8e9
    each = sum({id(v): v.array.nbytes for s in studies for v in (*s.images.values(), s.truth, s.mask)}.values())
    if n * each > memory / 2:
        raise DataError(
            f"Expected a cohort that takes at most half of this machine's memory, {memory / 2e9:.1f} GB; {n:,} "
            f"patients take {n * each / 1e9:,.1f} GB. Grow {int(memory / 2 / each):,} or fewer, or thicker slices."
        )
