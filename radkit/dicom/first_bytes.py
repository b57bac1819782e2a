"""The beginning of a DICOM file, byte by byte: preamble, file meta information, first elements (PS3.10 section 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import error

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from .table import Table
from .walker import LONG, UNDEFINED, _element, _Unsure

FIRST, ENOUGH = 8, 1 << 16  # elements of the data set, bytes


@dataclass(frozen=True, repr=False)
class FirstBytes(Table):
    """The first bytes of a file; those of an element come as tag | VR (in explicit syntaxes) | length | value."""

    columns = ("at byte", "in the file", "which says")


def explain(path: Path) -> FirstBytes:
    """Explain the beginning of a DICOM file; of a damaged one, as far as it can be followed."""
    with path.open("rb") as file:
        data = file.read(ENOUGH)
    use = "in use by another format, such as TIFF" if any(data[:128]) else "all zero"
    rows: list[tuple[str, ...] | str] = [
        ("0", _hex(data[:128]), f"the preamble: 128 bytes to which DICOM gives no meaning, {use}"),
        ("128", _hex(data[128:132]), "DICM: the mark of a DICOM file"),
    ]
    at, left, syntax = 132, FIRST, UID("")
    while at < len(data) and left:
        meta = data[at : at + 2] == b"\2\0"  # always explicit little endian, whatever follows
        left -= not meta
        try:
            if not meta and syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
                raise _Unsure
            implicit = syntax == ImplicitVRLittleEndian and not meta
            tag, vr, start, length = _element(data, at, implicit)
        except (_Unsure, error):
            rows.append(f"From byte {at:,} on it is no plain little endian: {syntax.name}")
            break
        value, size = data[start : start + length], 4 if implicit or vr in LONG else 2
        if tag == 0x00020010:
            syntax = UID(value.decode("latin1").rstrip("\0 "))
        parts = [data[at : at + 4], *([] if implicit else [vr]), data[start - size : start], value]
        rows.append((str(at), " | ".join(map(_hex, parts)), _meaning(tag, vr, length, value)))
        at = start + length
    return FirstBytes(f"The first bytes of {path.name}", rows)


def _meaning(tag: int, vr: bytes, length: int, value: bytes) -> str:
    """Say what an element is: tag, keyword, VR, length and value."""
    keyword = keyword_for_tag(tag)
    vr = vr or (dictionary_VR(tag)[:2].encode() if keyword else b"UN")
    text = "binary" if vr in LONG else value.decode("latin1").rstrip("\0 ")
    if vr in (b"US", b"UL", b"SS", b"SL") and len(value) <= 8:
        text = str(int.from_bytes(value, "little", signed=vr[:1] == b"S"))
    elif vr == b"UI" and UID(text).name != text:
        text += f" ({UID(text).name})"
    size = "of undefined length, up to its end mark" if length == UNDEFINED else f"{length:,} bytes"
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword or 'private'} · {vr.decode()} · {size} · {text or 'empty'}"


def _hex(data: bytes) -> str:
    return data[:8].hex(" ").upper() + " …" * (len(data) > 8)
