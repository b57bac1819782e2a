"""A DICOM file taken apart into elements, items and fragments, to be put together wrongly."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from mutant_seeds import seed

LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
ITEM, ENDS, PIXELS, UNDEFINED = 0xFFFEE000, (0xFFFEE00D, 0xFFFEE0DD), 0x7FE00010, 0xFFFFFFFF


class Element(NamedTuple):
    """Where an element, an item or a fragment stands in the bytes, with all that is in it."""

    tag: int
    start: int
    value: int
    end: int
    width: int  # of its length, in bytes


class Parts(NamedTuple):
    """A file and where its parts are; a deflated one is inflated."""

    data: bytes
    body: int
    implicit: bool
    big: bool
    deflated: bool
    elements: list[Element]

    @property
    def pixels(self) -> int:
        """Where the pixel data begins, or the end."""
        return next((e.start for e in self.elements if e.tag == PIXELS), len(self.data))

    @property
    def fragments(self) -> list[Element]:
        return [e for e in self.elements if e.tag == ITEM and e.start > self.pixels]

    def number(self, value: int, width: int) -> bytes:
        return (value % (1 << 8 * width)).to_bytes(width, "big" if self.big else "little")

    def coded(self, tag: int, vr: bytes, value: bytes) -> bytes:
        """Return an element as it stands in this file."""
        meta = tag >> 16 == 2
        order = ">" if self.big and not meta else "<"
        head, value = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF), value + b"\0" * (len(value) % 2)
        if (self.implicit and not meta) or tag >= ITEM:
            return head + struct.pack(f"{order}I", len(value)) + value
        if vr in LONG or len(value) > 0xFFFF:
            return head + (vr if vr in LONG else b"UT") + struct.pack(f"{order}xxI", len(value)) + value
        return head + vr + struct.pack(f"{order}H", len(value)) + value

    def with_value(self, tag: int, vr: bytes, value: bytes) -> Parts:
        """Return the file with an element of the top level set, in its place."""
        place = next((e for e in self.elements if tag <= e.tag < ITEM), None)
        start = len(self.data) if place is None else place.start
        end = place.end if place is not None and place.tag == tag else start
        return taken_apart(self.data[:start] + self.coded(tag, vr, value) + self.data[end:], self)


def parts_of(name: str) -> Parts:
    """Take a seed apart."""
    return taken_apart(seed(name))


def taken_apart(data: bytes, before: Parts | None = None) -> Parts:
    """Take a file apart; one that was changed as it was ``before``, whatever its syntax says now."""
    meta = Parts(data, 0, False, False, False, [])
    body = _collect(meta, 132, len(data), group=2)
    syntaxes = (data[e.value : e.end].strip(b"\0") for e in meta.elements if e.tag == 0x20010)
    syntax = next(syntaxes, b"")
    made = Parts(data, body, syntax == b"1.2.840.10008.1.2", syntax.endswith(b".2.2"), syntax.endswith(b".1.99"), [])
    if before is not None:
        made = before._replace(data=data, body=body, elements=[])
    elif made.deflated:
        made = made._replace(data=data[:body] + zlib.decompress(data[body:], -15))
    made.elements.extend(meta.elements)
    _collect(made, body, len(made.data))
    return made


def put_together(made: Parts, data: bytes) -> bytes:
    """Return changed bytes as they were: deflated."""
    if not made.deflated:
        return data
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return data[: made.body] + squeezer.compress(data[made.body :]) + squeezer.flush()


def _collect(made: Parts, at: int, end: int, inside: int = 0, group: int = 0) -> int:
    """Collect what stands from ``at`` on, of one group or of all; return where it ends."""
    order, data = "big" if made.big else "little", made.data
    while at + 8 <= end:
        tag = int.from_bytes(data[at : at + 2], order) << 16 | int.from_bytes(data[at + 2 : at + 4], order)
        if group and tag >> 16 != group:
            break
        vr, plain = data[at + 4 : at + 6], made.implicit or tag >= ITEM
        value, width = at + (12 if not plain and vr in LONG else 8), 4 if plain or vr in LONG else 2
        length = int.from_bytes(data[value - width : value], order)
        stop = end if length == UNDEFINED else min(value + length, end)
        place = len(made.elements)
        made.elements.append(Element(tag, at, value, stop, width))
        if length == UNDEFINED or (vr == b"SQ" and not plain) or (tag == ITEM and inside != PIXELS):
            stop = _collect(made, value, stop, tag if tag != ITEM else inside)
            made.elements[place] = Element(tag, at, value, stop, width)
        at = stop
        if tag in ENDS:
            break
    return at
