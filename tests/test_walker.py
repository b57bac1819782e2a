"""The walker and pydicom agree on generated headers; whatever the walker is not sure of, it leaves to pydicom."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement

from radkit.dicom._file import read_dataset
from radkit.dicom.walker import walk, walk_file
from radkit.errors import DicomError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pytest sets aside the filter of radkit.dicom

EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
LONG = ("OB", "OW", "OF", "OL", "SQ", "UN", "UT", "UC", "UR")
WANTED = (0x00080060, 0x0020000E, 0x00200032, 0x00280010, 0x00281053, 0x00091001, 0x00081140, 0x00280106)


def element(tag, vr, value, implicit, *, undefined=False):
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    length = 0xFFFFFFFF if undefined else len(value)
    if implicit:
        return head + struct.pack("<I", length) + value
    return head + vr.encode() + (struct.pack("<xxI", length) if vr in LONG else struct.pack("<H", length)) + value


def dicom_file(body, syntax):
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x00020010, "UI", uid, False)
    return b"\0" * 128 + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta)), False) + meta + body


def items(rng, implicit, depth):
    """A sequence's value: items of defined and undefined length, sequences within them."""
    undefined, value = rng.random() < 0.5, b""
    for _ in range(rng.integers(0, 4)):
        body = random_elements(rng, implicit, depth + 1)
        open_end = rng.random() < 0.5
        value += b"\xfe\xff\x00\xe0" + struct.pack("<I", 0xFFFFFFFF if open_end else len(body)) + body
        value += b"\xfe\xff\x0d\xe0\0\0\0\0" * open_end
    return value + b"\xfe\xff\xdd\xe0\0\0\0\0" * undefined, undefined


def random_elements(rng, implicit, depth=0):
    noise = bytes(rng.integers(0, 256, 70, np.uint8))
    known = [
        (0x00080005, "CS", b"ISO_IR 100"), (0x00080018, "XX", b"12"), (0x00080060, "CS", b"CT"),
        (0x00080060, "CS", b"MR "), (0x00091001, "LO", b"odd"), (0x00091001, "UN", b"\xfe\xff\x00\xe0"),
        (0x0020000E, "UI", b"1.2.3\0"),
        (0x00200032, "DS", b"-10.5\\2\\3e1 "), (0x00200032, "DS", b""), (0x00280010, "US", b"\x10\0"),
        (0x00280011, "US", b"\x20\0"), (0x00280106, "SS", b"\xff\xff"), (0x00280106, "US", b"\1\0"),
        (0x00281052, "DS", b"-1024 "), (0x00281053, "DS", b"2"), (0x00281053, "LO", b"2 "),
        (0x00282000, "OF", bytes(8)), (0x00291010, "OB", noise), (0x0040A160, "UT", b"long " * 50),
    ]  # fmt: skip
    chosen = sorted((known[i] for i in rng.choice(len(known), rng.integers(1, 9))), key=lambda e: e[0])
    if rng.random() < 0.9:  # mostly as it should be
        chosen = [e for i, e in enumerate(chosen) if e[1] != "XX" and e[0] != chosen[i - 1][0]]
    written = [(tag, element(tag, vr, value, implicit)) for tag, vr, value in chosen]
    if depth < 3 and rng.random() < 0.6:
        tag, vr = [(0x00081140, "SQ"), (0x00091002, "SQ"), (0x00081140, "UN")][rng.integers(0, 3)]
        value, undefined = items(rng, implicit, depth)
        written.append((tag, element(tag, vr, value, implicit, undefined=undefined)))
    return b"".join(body for _, body in sorted(written, key=lambda e: e[0]))


def as_pydicom_reads(data):
    ds = dcmread(io.BytesIO(data))
    raw = {tag: ds.get_item(tag) for tag in WANTED if tag in ds}
    return {tag: e.value or b"" if isinstance(e, RawDataElement) else None for tag, e in raw.items()}, ds


@pytest.mark.parametrize("implicit", [False, True])
def test_the_walker_finds_what_pydicom_finds_in_generated_headers(implicit):
    rng, sure = np.random.default_rng(int(implicit)), 0
    for _ in range(400):
        pixels = element(0x7FE00010, "OW", bytes(32), implicit) * (rng.random() < 0.8)
        data = dicom_file(random_elements(rng, implicit) + pixels, IMPLICIT if implicit else EXPLICIT)
        if (found := walk(data, WANTED)) is None:
            continue
        sure += 1
        theirs, ds = as_pydicom_reads(data)
        assert found.values.keys() == theirs.keys()
        assert all(theirs[tag] is None or theirs[tag] == value for tag, value in found.values.items())
        assert (found.pixels, found.length) == ((ds.get_item("PixelData").value_tell, 32) if pixels else (None, None))
        assert walk(data[: found.pixels], WANTED, whole=False) == (found if pixels else None)
    assert sure > 150


def test_damaged_headers_are_left_to_pydicom_or_read_as_it_reads_them():
    rng, sure = np.random.default_rng(7), 0
    for n in range(600):
        whole = dicom_file(
            random_elements(rng, n % 2) + element(0x7FE00010, "OW", bytes(32), n % 2), (EXPLICIT, IMPLICIT)[n % 2]
        )
        data = bytearray(whole)
        for at in rng.integers(132, len(data), rng.integers(1, 4)):
            data[at] ^= 1 << rng.integers(0, 8)
        if (found := walk(bytes(data[: rng.integers(140, 2 * len(data))]), WANTED)) is not None and found.pixels:
            try:
                theirs, _ = as_pydicom_reads(bytes(data))
            except (ValueError, KeyError, NotImplementedError, OSError, struct.error):
                continue  # an element that nobody asked for
            sure += 1
            assert all(theirs[tag] is None or theirs[tag] == value for tag, value in found.values.items())
    assert sure > 50


@pytest.mark.parametrize(
    "body",
    [
        element(0x00280010, "US", b"\1\0", False) + element(0x00080060, "CS", b"CT", False),  # out of order
        element(0x00280010, "UL", b"\1\0\0\0", False),  # a VR that the standard does not give the tag
        element(0x00280010, "US", b"\1\0", True),  # implicit, and says explicit
        element(0x00280010, "US", b"\1\0", False)[:-1],  # past the end
        element(0x00081140, "SQ", b"\xfe\xff\x00\xe0", False, undefined=True),
        element(0x00081140, "OB", b"\xfe\xff\xdd\xe0\0\0\0\0", False, undefined=True),
    ],
)
def test_what_is_not_certain_is_left_to_pydicom(body):
    assert walk(dicom_file(body, EXPLICIT), WANTED) is None


def test_big_endian_deflated_and_what_is_no_dicom_are_left_to_pydicom():
    good = element(0x00280010, "US", b"\1\0", False)
    assert walk(dicom_file(good, EXPLICIT), WANTED).values == {0x00280010: b"\1\0"}
    for syntax in ("1.2.840.10008.1.2.2", DEFLATED, "1.2.840.113619.5.2", ""):
        assert walk(dicom_file(good, syntax), WANTED) is None
    assert walk(b"", WANTED) is None and walk(b"\0" * 500, WANTED) is None


def test_only_as_much_of_a_file_is_read_as_needed(tmp_path):
    path = tmp_path / "a"
    for size in (10, 20_000, 3_000_000):
        body = element(0x00091010, "OB", bytes(size), False) + element(0x00280010, "US", b"\1\0", False)
        path.write_bytes(dicom_file(body + element(0x7FE00010, "OW", bytes(64), False), EXPLICIT))
        found = walk_file(path, WANTED)
        assert found is None if size > 2 << 20 else found.values == {0x00280010: b"\1\0"}


ITEM = b"\xfe\xff\x00\xe0" + bytes(4)
ONE_ITEM = ITEM[:4] + b"\0\x12\x7a\0" + element(0x00080060, "CS", b"", False) * 10**6  # a million elements in it
DEEP = b"\x40\0\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"


def deflated(body):
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(body) + squeezer.flush()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "does not begin with 128 bytes and DICM"),
        (dicom_file(b"", EXPLICIT), "expected 1 to 10000 elements, found 0"),
        (dicom_file(element(0x00091010, "OB", bytes(9), False)[:-3], EXPLICIT), "lacks 3 bytes of 9"),
        (dicom_file(element(0x00091010, "OB", b"", False)[:-4] + b"\xf0\xff\xff\xff", EXPLICIT), "lacks 4294967280"),
        (dicom_file(element(0x0040A730, "SQ", ITEM * 10**6, False), EXPLICIT), "sequences and lists hold more"),
        (
            dicom_file(deflated(element(0x0040A730, "SQ", ITEM * 10**6, False)), DEFLATED),
            "sequences and lists hold more",
        ),
        (dicom_file(element(0x0040A730, "SQ", ONE_ITEM, False), EXPLICIT), "sequences and lists hold more"),
        (dicom_file(element(0x0040A730, "UN", ITEM * 10**6, False), EXPLICIT), "sequences and lists hold more"),
        (dicom_file(element(0x00281050, "DS", b"1\\" * 10**6, True), IMPLICIT), "sequences and lists hold more"),
        (dicom_file(DEEP * 2000, EXPLICIT), "nested too deeply"),
        (dicom_file(element(0x00080018, "US", b"12", False) * 10**6, EXPLICIT), "more elements"),
        (dicom_file(deflated(bytes(70 << 20)), DEFLATED), "larger than 32 MiB"),
        (dicom_file(b"not deflated", DEFLATED), "Error"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_a_file_that_asks_for_too_much_is_refused_by_name(tmp_path, content, says):
    path = tmp_path / "bad.dcm"
    path.write_bytes(content)
    with pytest.raises(DicomError, match=rf"bad\.dcm cannot be read as DICOM: .*{says}"):
        read_dataset(path)


def test_a_deflated_file_is_inflated_and_says_where_it_came_from(tmp_path):
    path = tmp_path / "deflated"
    path.write_bytes(dicom_file(deflated(element(0x00280010, "US", b"\7\0", False)), DEFLATED))
    ds = read_dataset(path)
    assert ds.Rows == 7 and ds.filename == str(path) and ds.file_meta.TransferSyntaxUID == DEFLATED
