"""Codes by name: the names are those that DICOM gives in its own context groups (PS3.16), in small letters."""

from __future__ import annotations

import difflib
from functools import cache

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ..errors import ResultError

KINDS = 7151  # CID 7151, Segmentation Property Types: nodule, mass, cyst, liver, white matter, ...
SITES = (4031, 4, 7151)  # Common Anatomic Regions, Anatomic Regions, and organs that are segmented
TITLES = 7010  # Key Object Selection Document Title
PRESENCE, ABSENT = codes.DCM.PresenceOfProperty, codes.cid241.Absent  # what was looked for in vain
# What makes a kind of segment a lesion, a device or a tissue (else an anatomical structure): CID 7150 by CID.
_THING = codes.SCT.PhysicalObject
CATEGORIES = {7159: codes.SCT.MorphologicallyAbnormalStructure, 7157: _THING, 7158: _THING, 7166: codes.SCT.Tissue}
SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}
SHORT = {
    "upper lobe": "upper lobe of lung",
    "middle lobe": "middle lobe of right lung",
    "lower lobe": "lower lobe of lung",
}
# Qualitative findings: the concept, and the context group of its values.
QUALITIES = {
    "border shape": (codes.DCM.BorderShape, 6119),  # spiculated, lobulated, round shape, irregular, elliptic
    "border definition": (codes.DCM.BorderDefinition, 6120),  # well defined, poorly defined, ...
    "content": (codes.DCM.TypeOfContent, 6122),  # soft tissue, calcium, fat, ...
    "response": (codes.DCM.CurrentResponse, 6143),  # target lesion stable disease, ...
}


@cache
def meanings(*groups: int) -> dict[str, Code]:
    """Return the codes of context groups by their meanings; the first group that has a meaning counts."""
    found: dict[str, Code] = {}
    for number in groups:
        group = getattr(codes, f"cid{number}")
        for code in (getattr(group, name) for name in group.dir()):
            found.setdefault(code.meaning.lower(), code)
    return found


def code_of(name: str | Code, what: str, *groups: int) -> Code:
    """Return the code that a name stands for; a code stands for itself."""
    if not isinstance(name, str):
        return name
    known = meanings(*groups)
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), known, n=5, cutoff=0.5)
        raise ResultError(
            f"There is no {what} {name!r} in DICOM's CID {groups[0]}{'; near it: ' * bool(near)}{', '.join(near)}. "
            "Take one of its meanings, or give a pydicom Code."
        )
    return known[name.lower()]


def sided(name: str | Code, what: str, *groups: int) -> tuple[Code, Code | None]:
    """Return the code of a structure, and of its side where the name begins with one: "left kidney"."""
    if not isinstance(name, str):
        return name, None
    first, _, rest = name.lower().partition(" ")
    name, side = (rest, SIDES[first]) if first in SIDES else (name.lower(), None)
    return code_of(SHORT.get(name, name), what, *groups), side


def category_of(kind: Code) -> Code:
    """Return the category (CID 7150) of a kind of segment, by the group that lists it."""
    for group, category in CATEGORIES.items():
        if kind in meanings(group).values():
            return category
    if kind in meanings(KINDS).values():
        return codes.SCT.AnatomicalStructure
    raise ResultError(f"{kind.meaning} is not in DICOM's CID {KINDS}: say its category too, such as category='tissue'.")


def quality(name: str | Code, value: str | Code) -> tuple[Code, Code]:
    """Return concept and value of a qualitative finding."""
    if not isinstance(name, str):
        return name, code_of(value, "value", *(group for _, group in QUALITIES.values()))
    if name not in QUALITIES:
        raise ResultError(f"Expected a pydicom Code, or one of {', '.join(QUALITIES)}, not {name!r}.")
    concept, group = QUALITIES[name]
    return concept, code_of(value, name, group)
