"""What the standard says of each attribute: PS3.15 table E.1-1, its options, and radkit's rule for what it leaves out.

The actions of the Basic Profile come from dicom-anonymizer, which keeps the table of 2026c; the columns of the options,
which it leaves out, are in ``profile_options.yaml``. An action is one letter:

X remove · Z empty, or a pseudonym · D a dummy value · U a new UID · S a shifted date · C clean the text · "" may stay
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.valuerep import STR_VR

from radkit.errors import DicomError

PROFILE = ("113100", "Basic Application Confidentiality Profile")  # PS3.16 CID 7050
DATES = "retain-longitudinal-temporal-information-with-modified-dates"
ALIASES = {"modified-dates": DATES}

# Of a choice the one is taken that keeps an object valid, whichever type its IOD gives the attribute.
_CELLS = {"X": "X", "Z": "Z", "D": "D", "U": "U", "Z_D": "D", "X_Z": "Z", "X_D": "D", "X_Z_D": "D", "X_Z_U_STAR": "U"}
_BASIC = {(tag[0] << 16) + tag[1]: letter for cell, letter in _CELLS.items() for tag in getattr(table, f"{cell}_TAGS")}

# Optional, and nobody can clean what is encrypted, no program what is drawn; the last must not be empty.
_REMOVED = frozenset(
    ("EncryptedAttributesSequence", "MACParametersSequence", "GraphicAnnotationSequence", "ReferencedStudySequence")
)
# What says which standard or maker something follows, and not which patient.
_KINDS = ("CodingSchemeUID", "ContextUID", "MappingResourceUID", "ImplementationClassUID", "TransferSyntaxUID")


class Option(NamedTuple):
    """One option of the profile: its code in CID 7050, and the keywords of what it keeps and of what it cleans."""

    code: tuple[str, str]
    keeps: frozenset[str]
    cleans: frozenset[str]


@lru_cache(1)
def options_of_the_standard() -> dict[str, Option]:
    """Return the options by the standard's names, in small letters with hyphens."""
    rows = _columns().items()
    words = {name: [frozenset(row.get(key, "").split()) for key in ("keeps", "cleans")] for name, row in rows}
    return {name: Option(tuple(row["code"]), *words[name]) for name, row in rows}


def chosen(options: str | Iterable[str]) -> frozenset[str]:
    """Return the options by their full names; a DicomError names those there are."""
    names = frozenset(ALIASES.get(option, option) for option in ([options] if isinstance(options, str) else options))
    if unknown := names - options_of_the_standard().keys():
        known = ", ".join([*options_of_the_standard(), *ALIASES])
        raise DicomError(f"Expected options out of {known}; found {', '.join(sorted(unknown))}.")
    return names


@lru_cache(1 << 16)
def action_for(tag: int, vr: str = "", options: frozenset[str] = frozenset()) -> str:
    """Return what the profile does to an attribute, as a letter: see the top of this module.

    ``vr`` is what a file gives as its value representation, ``options`` are as `chosen` returns them. Private
    attributes, curves, overlays and what no dictionary knows are removed; unlisted names, free text, dates and UIDs are
    treated as if they were listed.
    """
    group = tag >> 16
    drawn = 0x5000 <= group < 0x5100 or 0x6000 <= group < 0x6100
    if group % 2 or not tag & 0xFFFF or drawn or not dictionary_has_tag(tag):
        return "X"
    keyword, possible = keyword_for_tag(tag), dictionary_VR(tag).split(" or ")
    known = possible[0]
    if vr not in ("", "UN", *possible) and not {vr, known} <= STR_VR:
        return "X"  # a header that takes items, text and numbers for one another lies
    basic = "X" if keyword in _REMOVED else _BASIC.get(tag, _unlisted(keyword, known))
    return basic and _with_options(keyword, known, basic, options)


def _unlisted(keyword: str, vr: str) -> str:
    """Return the action for what the table leaves out, on the safe side."""
    if vr == "UI":
        return "" if keyword in _KINDS or "SOPClass" in keyword else "U"
    free = vr in ("DA", "DT", "TM", "PN", "LT", "ST", "UT", "AE", "UR")
    return "D" if free and keyword != "URNCodeValue" else ""


def _with_options(keyword: str, vr: str, basic: str, options: frozenset[str]) -> str:
    """Return what the options make of an action of the Basic Profile."""
    if DATES in options and vr in ("DA", "DT", "TM") and not keyword.startswith(("PatientBirth", "GPS")):
        return "" if vr == "TM" else "S"
    if "retain-uids" in options and vr == "UI" and keyword not in ("UID", "DigitalSignatureUID"):
        return ""
    rules = [options_of_the_standard()[option] for option in options]
    if any(keyword in rule.keeps for rule in rules):
        return ""
    return "C" if any(keyword in rule.cleans for rule in rules) else basic


@lru_cache(1)
def safe_private() -> frozenset[tuple[str, int, int]]:
    """Return the numbers of PS3.15 table E.3.10-1: creator, group, last two digits of the element."""
    rows = _columns()["retain-safe-private"]["numbers"]
    return frozenset((creator, int(group, 16), int(last, 16)) for creator, group, all_ in rows for last in all_.split())


@lru_cache(1)
def _columns() -> dict:
    return yaml.safe_load(Path(__file__).with_name("profile_options.yaml").read_text(encoding="utf-8"))
