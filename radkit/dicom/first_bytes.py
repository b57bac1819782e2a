"""The beginning of a DICOM file, byte by byte: preamble, file meta information, first elements (PS3.10 section 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import error

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ..errors import DicomError
from .table import Table
from .walker import LONG, _element, _Unsure

FIRST, MOST_META, ENOUGH = 8, 40, 1 << 16  # elements of the data set, rows before it, bytes


@dataclass(frozen=True, repr=False)
class FirstBytes(Table):
    """The first bytes of a file; those of an element come as tag | VR (in explicit syntaxes) | length | value."""

    columns = ("at byte", "in the file", "which says")


def explain(path: Path) -> FirstBytes:
    """Explain the beginning of a file; of a damaged one, as far as it can be followed."""
    try:
        with path.open("rb") as file:
            data = file.read(ENOUGH)
    except OSError as error:
        raise DicomError(f"{path} cannot be read: {error.strerror or error}") from error
    rows: list[tuple[str, ...] | str] = []
    if data[128:132] != b"DICM":
        rows = [("0", _hex(data), "no preamble of 128 bytes followed by DICM: not the DICOM file format")]
        return FirstBytes(path.name, rows)
    unused = "all zero" if not any(data[:128]) else "in use by another format, such as TIFF"
    rows.append(("0", _hex(data[:128]), f"the preamble: 128 bytes to which DICOM gives no meaning, {unused}"))
    rows.append(("128", _hex(data[128:132]), "DICM: the mark of a DICOM file"))
    return FirstBytes(f"the first bytes of {path.name}", rows + _elements(data))


def _elements(data: bytes) -> list[tuple[str, ...] | str]:
    """Explain the file meta information, always explicit little endian, and the first elements of the data set."""
    rows: list[tuple[str, ...] | str] = []
    at, syntax, last = 132, UID(""), MOST_META
    while at < len(data) and len(rows) < last:
        if last == MOST_META and data[at : at + 2] != b"\2\0":
            last = len(rows) + FIRST
            if syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
                return [*rows, f"From here on the file is {syntax.name}, which is not explained byte by byte."]
        implicit = last != MOST_META and syntax == ImplicitVRLittleEndian
        try:
            tag, vr, start, length = _element(data, at, implicit)
        except (_Unsure, error):
            return [*rows, f"From byte {at:,} on the file is not as the standard has it."]
        value = data[start : start + length]
        parts = [
            data[at : at + 4],
            *([] if implicit else [vr]),
            data[start - (4 if implicit or vr in LONG else 2) : start],
        ]
        if tag == 0x00020010:
            syntax = UID(value.decode("ascii", "replace").rstrip("\0 "))
        rows.append((str(at), " | ".join(map(_hex, [*parts, value])), _meaning(tag, vr, length, value)))
        at = start + length
    return rows


def _meaning(tag: int, vr: bytes, length: int, value: bytes) -> str:
    """Say what an element is: tag, keyword, VR, length and value."""
    keyword = keyword_for_tag(tag)
    vr = vr or (dictionary_VR(tag)[:2].encode() if keyword else b"UN")
    says = f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword or 'not in the dictionary'} · {vr.decode()} · "
    if length == 0xFFFFFFFF:
        return says + "of undefined length, up to its end mark"
    if vr in (b"US", b"UL", b"SS", b"SL") and value:
        text = str(int.from_bytes(value, "little", signed=vr[:1] == b"S"))
    elif vr in LONG:
        text = "binary"
    else:
        text = value.decode("latin1").rstrip("\0 ")
        text += f" ({UID(text).name})" * (vr == b"UI" and UID(text).name != text)
    return f"{says}{length:,} bytes · {text or 'empty'}"


def _hex(data: bytes) -> str:
    return data[:12].hex(" ").upper() + " …" * (len(data) > 12)
