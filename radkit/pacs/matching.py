"""Whether a data set fits a query's key: the matching of PS3.4, C.2.2.2, and of QIDO-RS with it."""

from __future__ import annotations

import re
from typing import Any

from pydicom import DataElement, Dataset


def matches(key: DataElement, header: Dataset) -> bool:
    """Match one key: universal, single value, list of UIDs, wild card or range (PS3.4, C.2.2.2)."""
    if key.VR == "SQ" or key.value in (None, "", []):
        return True
    if key.VR == "UI":  # no wild cards; and a retrieval names hundreds
        return not set(_values(key)).isdisjoint(_values(header.get(key.tag)))
    have = [str(value) for value in _values(header.get(key.tag))]
    for wanted in map(str, _values(key)):
        if key.VR in ("DA", "TM", "DT") and "-" in wanted:
            first, last = wanted.split("-", 1)
            if any((not first or value >= first) and (not last or value[: len(last)] <= last) for value in have):
                return True
        elif any(_pattern(wanted, key.VR).fullmatch(value) for value in have):
            return True
    return False


def _values(element: DataElement | None) -> list[Any]:
    if element is None or element.value is None:
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def _pattern(wanted: str, vr: str) -> re.Pattern[str]:
    wild = re.escape(wanted).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(wild, re.IGNORECASE if vr == "PN" else 0)
