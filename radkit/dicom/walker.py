"""A small walker over the bytes of a DICOM file: the parts of PS3.5 section 7 that nearly every file keeps to.

A file is a preamble of 128 bytes, ``DICM``, the file meta information, then data elements in ascending order of their
tags. An element is a tag (group and element, two bytes each), in explicit syntaxes two letters for the value
representation (VR), a length, and that many bytes of value. Whoever knows the length steps from element to element
without looking at a value: that is why this is fast. Only a sequence of undefined length has to be walked through.

The walker knows little endian, explicit and implicit. For whatever it does not know for certain it answers ``None``,
and the caller asks pydicom.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from io import FileIO
from pathlib import Path
from struct import Struct, error
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

EXPLICIT, IMPLICIT, LENGTH = Struct("<HH2sH").unpack_from, Struct("<HHI").unpack_from, Struct("<I").unpack_from
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())  # a length of two bytes
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # two bytes of nothing, then a length of four
UNDEFINED = 0xFFFFFFFF
ITEM, END_OF_SEQUENCE, END_OF_ITEM = 0xFFFEE000, 0xFFFEE0DD, b"\xfe\xff\x0d\xe0\0\0\0\0"
PIXEL_DATA = 0x7FE00010
PIXELS = frozenset((0x7FE00008, 0x7FE00009, PIXEL_DATA))  # floats, doubles, integers

IMPLICIT_SYNTAX = "1.2.840.10008.1.2"
# Big endian and deflated; every other syntax of the standard is explicit little endian (PS3.5 A.4).
UNKNOWN = frozenset(IMPLICIT_SYNTAX + end for end in (".2", ".1.99", ".4.95", ".4.205"))


class Found(NamedTuple):
    """What a walk has found: the raw bytes of the wanted elements that are there, by tag, and the pixel data.

    ``pixels`` is where in the file their value begins (``None``: there are none) and ``length`` how long the header
    says it is (``None``: encapsulated); whether the file is that long is for the caller to check.
    """

    syntax: str
    values: dict[int, bytes]
    pixels: int | None
    length: int | None


class _Unsure(Exception):
    """The bytes are not of the plain kind that the walker knows."""


def walk_file(path: str | Path, wanted: Collection[int]) -> Found | None:
    """Walk over the beginning of a file, as ``walk`` does; no more of it is read than needed."""
    with FileIO(str(path)) as file:
        data = b""
        for most in (1 << 14, 1 << 21):
            data += file.read(most)
            whole = len(data) < most
            if (found := walk(data, wanted, whole=whole)) is not None or whole:
                return found
    return None


def walk(data: bytes, wanted: Collection[int], *, whole: bool = True) -> Found | None:
    """Find elements of the top level, and the pixel data, in the bytes of a DICOM file.

    ``data`` is the file from its first byte on, as far as the pixel data at least; where it is not the ``whole`` file,
    they must be found. ``wanted`` are tags such as ``0x00280010``; a sequence comes as the bytes of its items. ``None``
    if anything about the bytes is not certain: another syntax, a VR that the standard does not know or not for that
    tag, tags out of order, a length past the end.
    """
    try:
        return _walk(data, wanted, whole)
    except (_Unsure, error, ValueError):
        return None


def _walk(data: bytes, wanted: Collection[int], whole: bool) -> Found:
    syntax, at = _file_meta(data)
    implicit, last, end = syntax == IMPLICIT_SYNTAX, 0x0002FFFF, len(data)
    values: dict[int, bytes] = {}
    if implicit and data[at + 4 : at + 6].isalpha():
        raise _Unsure  # letters where a length should be: it says implicit and is explicit
    while at < end:
        group, element, vr, length = EXPLICIT(data, at)
        if vr in SHORT and not implicit:  # nearly every element, and a call would cost more than the step
            tag, start = group << 16 | element, at + 8
        else:
            tag, vr, start, length = _element(data, at, implicit)
        if not last < tag < 0x7FE00008:
            if tag == PIXEL_DATA and (implicit or vr in (b"OB", b"OW")):
                return Found(syntax, values, start, None if length == UNDEFINED else length)
            if tag <= last or tag in PIXELS or tag >= ITEM:
                raise _Unsure
        at = start + length if length != UNDEFINED else _end(data, tag, vr, start, implicit)
        if tag in wanted:
            if not implicit and vr not in _dictionary(tag):
                raise _Unsure
            values[tag] = data[start:at]
        last = tag
    if at > end or not whole:
        raise _Unsure
    return Found(syntax, values, None, None)


def _file_meta(data: bytes) -> tuple[str, int]:
    """Return the transfer syntax, and where the data set starts (PS3.10 section 7.1)."""
    if data[128:132] != b"DICM":
        raise _Unsure
    at, syntax = 132, ""
    while data[at : at + 2] == b"\2\0":  # group 0002 is explicit little endian in every file
        tag, vr, start, length = _element(data, at, False)
        at = start + length
        if tag == 0x00020010 and vr == b"UI" and not syntax:
            syntax = data[start:at].rstrip(b"\0 ").decode("ascii")
    if not syntax.startswith(IMPLICIT_SYNTAX) or syntax in UNKNOWN:
        raise _Unsure
    return syntax, at


def _element(data: bytes, at: int, implicit: bool) -> tuple[int, bytes, int, int]:
    """Return the tag, the VR, where the value starts and how long it is (PS3.5 tables 7.1-1 to 7.1-3)."""
    if implicit:
        group, element, length = IMPLICIT(data, at)
        return group << 16 | element, b"", at + 8, length
    group, element, vr, length = EXPLICIT(data, at)
    if vr in SHORT:
        return group << 16 | element, vr, at + 8, length
    if vr in LONG:
        return group << 16 | element, vr, at + 12, LENGTH(data, at + 8)[0]
    raise _Unsure


def _end(data: bytes, tag: int, vr: bytes, at: int, implicit: bool, depth: int = 16) -> int:
    """Return where a sequence of undefined length ends, whose items start here (PS3.5 section 7.5)."""
    if not depth or (vr != b"SQ" and not (implicit and _dictionary(tag) in (b"SQ", b""))):
        raise _Unsure
    while True:
        group, element, length = IMPLICIT(data, at)  # items and delimiters have no VR in any syntax
        mark, at = group << 16 | element, at + 8
        if mark == END_OF_SEQUENCE and length == 0:
            return at
        if mark != ITEM:
            raise _Unsure
        if length != UNDEFINED:
            at += length
            continue
        while data[at : at + 8] != END_OF_ITEM:
            tag, vr, start, length = _element(data, at, implicit)
            at = start + length if length != UNDEFINED else _end(data, tag, vr, start, implicit, depth - 1)
        at += 8


@lru_cache(4096)
def _dictionary(tag: int) -> bytes:
    """Return the VR, or the VRs, that PS3.6 gives a tag; nothing for private ones."""
    try:
        return dictionary_VR(tag).encode()
    except KeyError:
        return b""
