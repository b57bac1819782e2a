"""Files of a few bytes, or of a few million, that ask for all the time or memory there is."""

from __future__ import annotations

import copy
import struct
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
from mutant_seeds import enhanced, grey, item, report, slice_of, written
from pydicom import Dataset, dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from test_decoding import GRADIENT, coded, htj2k, jpeg

EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
LONG = ("OB", "OW", "OF", "SQ", "UN", "UT", "UC")
HEAD, OPEN, ITEM, TREE = b"\xfe\xff\x00\xe0", 0xFFFFFFFF, b"\xfe\xff\x00\xe0\0\0\0\0", 0x0040A730
MILLION, BIG = 10**6, 65535
SMALL = (GRADIENT >> 4).astype(np.uint8)
Make = Callable[[], bytes]


def element(tag: int, vr: str, value: bytes, length: int | None = None, implicit: bool = False) -> bytes:
    head, length = struct.pack("<HH", tag >> 16, tag & 0xFFFF), len(value) if length is None else length
    if implicit:
        return head + struct.pack("<I", length) + value
    return head + vr.encode() + struct.pack("<xxI" if vr in LONG else "<H", length) + value


def short(value: int) -> bytes:
    return struct.pack("<H", value)


def file(body: bytes, syntax: str = EXPLICIT) -> bytes:
    """Return a secondary capture of nothing, and more elements."""
    meta = element(0x20010, "UI", syntax.encode() + b"\0" * (len(syntax) % 2))
    uids = ((0x80016, b"1.2.840.10008.5.1.4.1.1.7\0"), (0x80018, b"1.2.3.4\0"))
    body = b"".join(element(tag, "UI", value, implicit=syntax == IMPLICIT) for tag, value in uids) + body
    if syntax == DEFLATED:
        squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = squeezer.compress(body) + squeezer.flush()
    return bytes(128) + b"DICM" + element(0x20000, "UL", struct.pack("<I", len(meta))) + meta + body


def deflated(body: bytes) -> bytes:
    return file(body, DEFLATED)


# Structure


def deep(depth: int, *, implicit: bool = False, tag: int = TREE, vr: str = "SQ") -> bytes:
    unit = element(tag, vr, HEAD + struct.pack("<I", OPEN), OPEN, implicit)
    return file(unit * depth, IMPLICIT if implicit else EXPLICIT)


def closed(depth: int, *, implicit: bool = False) -> bytes:
    """Nested sequences of defined length."""
    body = b""
    for _ in range(depth):
        body = element(TREE, "SQ", HEAD + struct.pack("<I", len(body)) + body, implicit=implicit)
    return file(body, IMPLICIT if implicit else EXPLICIT)


def one_item(body: bytes, vr: str = "SQ", tag: int = TREE) -> bytes:
    return element(tag, vr, HEAD + struct.pack("<I", len(body)) + body, implicit=not vr)


def numbered(number: int, first: int, each: int, value: bytes) -> bytes:
    """Elements of private groups, so many of a group."""
    tags = ((0x0011 + 2 * (n // each)) << 16 | first + n % each for n in range(number))
    return b"".join(element(tag, "LO", value) for tag in tags)


def frames_with_groups(number: int) -> bytes:
    made = slice_of(np.zeros((number, 2, 2), np.uint16))
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = uid.EnhancedCTImageStorage
    del made.ImagePositionPatient
    made.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, n]),
            PixelValueTransformationSequence=item(RescaleSlope=n % 3 + 1, RescaleIntercept=0),
        )[0]
        for n in range(number)
    ]
    return written(made)


THREE = element(0x80060, "CS", b"CT") + element(0x100020, "LO", b"12") + element(0x280010, "US", b"\1\0")
STRUCTURE: dict[str, Make] = {
    "empty": lambda: b"",
    "only a preamble": lambda: bytes(128) + b"DICM",
    "no elements": lambda: file(b"")[:172],
    "an executable's preamble": lambda: b"\x7fELF" + file(b"")[4:],
    **{f"{n} sequences deep": lambda n=n: deep(n) for n in (15, 17, 60, 300, 10_000, 200_000)},
    "10,000 deep, implicit": lambda: deep(10_000, implicit=True),
    "10,000 deep, of UN": lambda: deep(10_000, vr="UN"),
    "10,000 deep, private": lambda: deep(10_000, tag=0x00091001, vr="UN"),
    **{f"{n} deep, closed": lambda n=n: closed(n) for n in (15, 100, 300, 3000)},
    "3,000 deep, closed, implicit": lambda: closed(3000, implicit=True),
    "a report 200 deep": lambda: written(report(200)),
    "deep and deflated": lambda: deflated(element(TREE, "SQ", HEAD + struct.pack("<I", OPEN), OPEN) * MILLION),
    "a million items": lambda: file(element(TREE, "SQ", ITEM * MILLION)),
    "a million items, open": lambda: file(element(TREE, "SQ", ITEM * MILLION, OPEN)),
    "a million items in UN": lambda: file(element(TREE, "UN", ITEM * MILLION)),
    "a million items, private": lambda: file(element(0x00091001, "UN", ITEM * MILLION)),
    "a million items, within an open one": lambda: file(
        element(TREE, "SQ", HEAD + struct.pack("<I", OPEN) + element(TREE, "SQ", ITEM * MILLION), OPEN)
    ),
    "39,000 items": lambda: file(element(TREE, "SQ", ITEM * 39_000)),
    "49,999 items of three elements": lambda: file(element(TREE, "SQ", (HEAD + b"\x1e\0\0\0" + THREE) * 49_999)),
    "a million elements of one item": lambda: file(one_item(element(0x80060, "CS", b"") * MILLION)),
    "a million elements of one item in UN": lambda: file(one_item(element(0x80060, "", b"", 0, True) * MILLION, "UN")),
    "a million elements": lambda: file(numbered(MILLION, 0x10, 200, b"")),
    "the same element a million times": lambda: file(element(0x80018, "UI", b"12") * MILLION),
    "9,990 elements": lambda: file(numbered(9_990, 0x1000, 100, b"Citizen ")),
    "9,000 private creators": lambda: file(numbered(9_000, 0x10, 200, b"RADKIT")),
    "5,000 frames with groups": lambda: frames_with_groups(5_000),
    "20,000 frames with groups": lambda: frames_with_groups(20_000),
}

# Values of many parts


def many_values(tag: int, value: bytes) -> bytes:
    """An image with a list of a million parts, which an implicit length allows."""
    keep, mark = written(slice_of(grey()), IMPLICIT), struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    whole = element(tag, "", b"\\".join([value] * MILLION) + b" " * (len(value) % 2), implicit=True)
    if (at := keep.find(mark, 300)) < 0:
        at = keep.index(b"\xe0\x7f\x10\0")
        return keep[:at] + whole + keep[at:]
    return keep[:at] + whole + keep[at + 8 + struct.unpack_from("<I", keep, at + 4)[0] :]


LISTS = {
    **{0x00080005: b"ISO_IR 100", 0x00080008: b"A", 0x00080020: b"20200101", 0x00100010: b"A^B", 0x00101001: b"A^B"},
    **{0x00181065: b"1", 0x0020000E: b"1.2", 0x00200032: b"1", 0x00280008: b"1", 0x00280009: b"\1\2\3\4\5"},
    **{0x00280030: b"1", 0x00281050: b"1.5", 0x00281052: b"1", 0x00281055: b"a", 0x00283006: b"ab"},
}
VALUES: dict[str, Make] = {
    **{f"a million values of {tag:08X}": lambda tag=tag: many_values(tag, LISTS[tag]) for tag in LISTS},
    "a million windows of a frame": lambda: file(
        one_item(one_item(element(0x281050, "", b"1\\" * MILLION, None, True), "", 0x289132), "", 0x52009229), IMPLICIT
    ),
    "a table of a million": lambda: written(
        slice_of(grey(), VOILUTSequence=item(LUTDescriptor=[0, 0, 16], LUTData=bytes(2 * MILLION)))
    ),
    "a thousand windows": lambda: written(slice_of(grey(), WindowCenter=[40] * 1000, WindowWidth=[400] * 1000)),
}

# Sizes, true and claimed


def image(rows: int, columns: int, pixels: bytes, *, bits: int = 16, frames: str = "", length: int | None = None,
          samples: int = 1, before: bytes = b"") -> bytes:  # fmt: skip
    """The elements of an image of any claimed size."""
    body = element(0x200032, "DS", b"0\\0\\0 ") + element(0x200037, "DS", b"1\\0\\0\\0\\1\\0 ")
    body += element(0x280002, "US", short(samples))
    body += element(0x280004, "CS", b"MONOCHROME2 " if samples == 1 else b"RGB ")
    body += element(0x280008, "IS", frames.encode()) if frames else b""
    body += element(0x280010, "US", short(rows)) + element(0x280011, "US", short(columns))
    body += element(0x280030, "DS", b"1\\1 ")
    for tag, value in ((0x280100, bits), (0x280101, bits), (0x280102, bits - 1), (0x280103, 0)):
        body += element(tag, "US", short(value))
    return body + before + element(0x7FE00010, "OW", pixels, length)


def full(bits: int, before: bytes = b"") -> bytes:
    """An image nearly as large as may be inflated."""
    rows, columns = (4000, 4000) if bits == 16 else (5500, 5900)
    return deflated(image(rows, columns, bytes(rows * columns * bits // 8), bits=bits, before=before))


def overlays(number: int) -> bytes:
    """Many overlays of one pixel on a large image of few bytes."""
    parts = ((0x10, "US", short(1)), (0x11, "US", short(1)), (0x40, "CS", b"G "), (0x50, "SS", b"\1\0\1\0"),
             (0x100, "US", short(1)), (0x102, "US", short(0)), (0x3000, "OW", b"\1\0"))  # fmt: skip
    groups = range(0x6000, 0x6000 + 2 * number, 2)
    return full(8, b"".join(element(group << 16 | tag, vr, value) for group in groups for tag, vr, value in parts))


def segments() -> bytes:
    """A segmentation whose frames lie ten million slices apart."""
    made = dcmread(str(get_testdata_file("liver_1frame.dcm")))
    made.NumberOfFrames, made.PixelData, groups = 3, made.PixelData * 3, made.PerFrameFunctionalGroupsSequence
    for place in (1.0, 1e7):
        groups.append(copy.deepcopy(groups[0]))
        groups[-1].PlanePositionSequence[0].ImagePositionPatient[2] = place
        groups[-1].FrameContentSequence[0].DimensionIndexValues = [1, len(groups)]
    return written(made)


def far_apart() -> bytes:
    made = enhanced()
    made.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1e7]
    return written(made)


SLOPE = element(0x281053, "DS", b"0.3 ")
TABLE = b"".join([element(0x283002, "US", b"\0\1\0\0\x10\0"), element(0x283006, "OW", bytes(512))])
CLAIMS: dict[str, dict] = {
    "65535 × 65535 without pixels": {"pixels": b""},
    "65535 × 65535 of a few": {},
    "65535 × 65535, its length lies": {"length": 0xFFFFFFFE},
    "65535 × 65535, open": {"length": OPEN},
    "65535 × 65535 bits": {"bits": 1},
    "65535 × 65535 of 64 bits": {"bits": 64},
    "65535 samples": {"samples": BIG, "rows": 16, "columns": 16},
    "2³¹ frames": {"frames": "2147483647", "rows": 16, "columns": 16},
    "-1 frames": {"frames": "-1", "rows": 16, "columns": 16},
    "10¹² frames": {"frames": "1000000000000", "rows": 16, "columns": 16},
    "1 × 65535": {"rows": 1, "pixels": bytes(2 * BIG)},
    "65535 × 1": {"columns": 1, "pixels": bytes(2 * BIG)},
    "800,000 frames of one bit": {"rows": 1, "columns": 1, "bits": 1, "pixels": bytes(100_000), "frames": "800000"},
}
CLAIMED = {"rows": BIG, "columns": BIG, "pixels": bytes(1000)}
LARGE: dict[str, Make] = {
    **{name: lambda what=what: file(image(**(CLAIMED | what))) for name, what in CLAIMS.items()},
    "300 MiB of zeros, deflated": lambda: deflated(bytes(300 << 20)),
    "31 MiB of 16 bits, deflated": lambda: full(16),
    "31 MiB of 8 bits, deflated": lambda: full(8),
    "31 MiB of 16 bits and a slope, deflated": lambda: full(16, SLOPE),
    "31 MiB of 8 bits and a slope, deflated": lambda: full(8, SLOPE),
    "31 MiB of 8 bits and a table, deflated": lambda: full(
        8, element(0x283000, "SQ", HEAD + struct.pack("<I", len(TABLE)) + TABLE)
    ),
    "31 MiB of bits, deflated": lambda: deflated(image(16000, 16000, bytes(32_000_000), bits=1)),
    "49 million bits, deflated": lambda: deflated(image(7000, 7000, bytes(49_000_000 // 8), bits=1)),
    "20 MiB of tiny frames, deflated": lambda: deflated(
        image(2, 2, bytes(20 * MILLION), bits=8, frames="5000000", before=SLOPE)
    ),
    "31 MiB of text, deflated": lambda: deflated(element(0x204000, "UT", b"Citizen " * (31 << 17))),
    "31 MiB of unknown, deflated": lambda: deflated(element(0x00091001, "UN", bytes(31 << 20))),
    "128 overlays": lambda: overlays(128),
    "frames far apart": far_apart,
    "segments far apart": segments,
}

# Codecs


def claimed(dataset: Dataset, rows: int, columns: int, frames: int = 1) -> bytes:
    """A coded image whose header says another size."""
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
    return written(dataset)


def resized(syntax: str, rows: int, columns: int, both: bool = True) -> bytes:
    """A coded image whose codestream, and with ``both`` the header too, says another size; JPEG 2000 has one tile."""
    array, stream, mark = CODECS[uid.UID(syntax)]
    changed = bytearray(stream)
    at = changed.index(mark)
    for place in (6, 22) if mark == b"\xff\x51" else (5,):
        wide = place > 5
        size = struct.pack(">II", columns, rows) if wide else struct.pack(">HH", rows, columns)
        changed[at + place : at + place + len(size)] = size
    dataset = coded(array, uid.UID(syntax), bytes(changed))
    return claimed(dataset, rows, columns) if both else written(dataset)


def scans(number: int, rows: int, columns: int, *, progressive: bool = False) -> bytes:
    """A JPEG that paints the same picture again and again."""
    stream = jpeg(SMALL)
    at, start = stream.index(b"\xff\xc0"), stream.index(b"\xff\xda")
    head = bytes((0xFF, 0xC2 if progressive else 0xC0)) + stream[at + 2 : at + 5] + struct.pack(">HH", rows, columns)
    scan, ends = stream[start : start + 7], (b"\0\0\1\0", b"\1\x3f\1\0") if progressive else (b"\0\x3f\0\0",) * 2
    body = scan + ends[0] + (scan + ends[1]) * (number - 1)
    whole = stream[:at] + head + stream[at + 9 : start] + body + b"\xff\xd9"
    return claimed(coded(SMALL, uid.JPEGBaseline8Bit, whole), rows, columns)


def tiles(tile: int, size: int) -> bytes:
    """A JPEG 2000 of very many tiles."""
    stream = bytearray(CODECS[uid.JPEG2000Lossless][1])
    at = stream.index(b"\xff\x51") + 6
    stream[at : at + 32] = struct.pack(">8I", size, size, 0, 0, tile, tile, 0, 0)
    return claimed(coded(SMALL, uid.JPEG2000Lossless, bytes(stream)), size, size)


def fragments(number: int, offsets: int = 0) -> bytes:
    """One frame and very many fragments or offsets."""
    made = coded(GRADIENT, uid.RLELossless)
    (frame,) = generate_frames(made.PixelData, number_of_frames=1)
    made.PixelData = HEAD + struct.pack("<I", 4 * offsets) + bytes(4 * offsets)
    made.PixelData += HEAD + struct.pack("<I", len(frame)) + frame + (HEAD + b"\2\0\0\0ab") * number
    made.NumberOfFrames = max(offsets, 1)
    return written(made)


J2K = imagecodecs.jpeg2k_encode(SMALL, codecformat="j2k", reversible=True)
CODECS = {
    uid.JPEGBaseline8Bit: (SMALL, jpeg(SMALL), b"\xff\xc0"),
    uid.JPEGExtended12Bit: (GRADIENT, jpeg(GRADIENT, bitspersample=12), b"\xff\xc1"),
    uid.JPEGLosslessSV1: (GRADIENT, jpeg(GRADIENT, lossless=True, predictor=1, bitspersample=16), b"\xff\xc3"),
    uid.JPEGLSLossless: (GRADIENT, imagecodecs.jpegls_encode(GRADIENT), b"\xff\xf7"),
    uid.JPEG2000Lossless: (SMALL, J2K, b"\xff\x51"),
    uid.HTJ2KLossless: (SMALL, htj2k(SMALL, reversible=True), b"\xff\x51"),
}
CODED: dict[str, Make] = {
    **{f"{s.name}: {n} × {n}": lambda s=s, n=n: resized(s, n, n) for s in CODECS for n in (4000, BIG)},
    **{f"{s.name}: 65535 × 65535, not said": lambda s=s: resized(s, BIG, BIG, both=False) for s in CODECS},
    "JPEG: 5500 × 5900": lambda: resized(uid.JPEGBaseline8Bit, 5500, 5900),
    "JPEG 2000: 5500 × 5900": lambda: resized(uid.JPEG2000Lossless, 5500, 5900),
    "RLE: 65535 × 65535": lambda: claimed(coded(GRADIENT, uid.RLELossless), BIG, BIG),
    "RLE: a million frames": lambda: claimed(coded(GRADIENT, uid.RLELossless), 40, 56, MILLION),
    "1,000 scans": lambda: scans(1000, 5500, 5900),
    "90 scans": lambda: scans(90, 5500, 5900),
    "20,000 progressive scans": lambda: scans(20_000, 5500, 5900, progressive=True),
    "90 progressive scans": lambda: scans(90, 5500, 5900, progressive=True),
    **{f"tiles of {n} in {size}": lambda n=n, size=size: tiles(n, size)
       for n, size in ((1, 5600), (16, 5600), (64, 5600), (2, 256))},
    "a million fragments": lambda: fragments(MILLION),
    "10,000 fragments": lambda: fragments(10_000),
    "a million offsets": lambda: fragments(1, MILLION),
}  # fmt: skip

BOMBS = STRUCTURE | VALUES | LARGE | CODED
