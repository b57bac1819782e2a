"""Mutated DICOM files, made anew from a number: bits, lengths, tags, VRs, values, fragments, and bombs.

``python tests/mutants.py --files 50000 --seed 7`` sends them through scan, read, show and deid;
``python tests/mutants.py --seed 7 --only 1234`` writes one of them to a file and says what it is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gauntlet
import numpy as np
from mutant_bombs import BOMBS
from mutant_parts import ITEM, LONG, UNDEFINED, Element, Parts, parts_of, put_together
from mutant_seeds import SEEDS

Chance = np.random.Generator
VRS = [*b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US XX ??".split(), *LONG]
SYNTAXES = ["1.2.840.10008.1.2", "1.2.3", "", "../../x", *(f"1.2.840.10008.1.2.{end}" for end in (
    "1", "2", "1.99", "5", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "4.201", "4.203", "4.100",
    "1.98", "8.1", "4.999"))]  # fmt: skip
LENGTHS = (0, 1, 2, 3, 7, 8, 255, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, UNDEFINED)
SHORTS = (0, 1, 2, 3, 7, 8, 9, 12, 15, 16, 17, 24, 32, 64, 255, 256, 4096, 32767, 32768, 65534, 65535)
LARGE = (*SHORTS, 2**31 - 1, 2**31, 2**32 - 1, 10**12, -1)
NUMBERS = ["nan", "inf", "-inf", "1e400", "1e308", "-1e308", "1e-320", "0", "-0", "-1", "", " ", "abc", "1,5", "0x10",
           "9" * 16, "9" * 400, "9" * 5000, "1e5", "0.1", "2147483648", "-2147483649", "1\\2", "\\", "1\\\\2", "1\0",
           "\u0661"]  # fmt: skip
UIDS = ["../../x", "/etc/x", "..", ".", "", "1.2/../../3", "C:\\x", "\\\\host\\x", "1.2\0.3", "1." * 5000, "~", "$HOME",
        "1.2.840.10008.1.2", "CON", "1.2.3\n4", "é", "1.2.3.4" + " " * 60, "-1"]  # fmt: skip
TEXTS = ["<script>alert(1)</script>", "</table><img src=x onerror=alert(1)>", "\x1b[2J\x1b]0;x\x07", "\x1b$B\x1b(J$",
         "\0" * 20, "\u202eabc", "%s%n{0}{x.__class__}", "x" * 70000, "^" * 300, "=" * 50, "\\" * 2000, "\r\n\r\n",
         "\xed\xb3\xbf", "\xff\xfe\xfd", "'; --", "YES", "LOCALIZER"]  # fmt: skip
CHARSETS = ["ISO_IR 192", "ISO 2022 IR 87", "\\ISO 2022 IR 149", "GB18030", "ISO_IR 999", "utf-7", "\\" * 40, "idna",
            "rot13", "ISO_IR 6\\ISO 2022 IR 100", "\x1b", "x" * 1000, "unicode_escape"]  # fmt: skip
# Rows, Columns, NumberOfFrames, SamplesPerPixel, BitsAllocated, BitsStored, HighBit, PixelRepresentation, Planar…
FRAMES = 0x280008
SIZES = (0x280010, 0x280011, FRAMES, 0x280002, 0x280100, 0x280101, 0x280102, 0x280103, 0x280006)
DECIMALS = (0x280030, 0x281050, 0x281051, 0x281052, 0x281053, 0x200032, 0x200037, 0x180050, 0x180088, FRAMES,
            0x3004000E, 0x181063, 0x280034, 0x181164)  # fmt: skip
NAMES = (0x080016, 0x080018, 0x20000D, 0x20000E, 0x200052, 0x020003, 0x020002)
CHARACTERS = 0x080005
WORDS = (CHARACTERS, 0x080008, 0x080060, 0x08103E, 0x100010, 0x100020, 0x280004, 0x281055, 0x281056, 0x200020, 0x080020,
         0x60001500, 0x420012, 0x100040, 0x101010)  # fmt: skip
MUTATIONS: dict[str, Callable[[Chance, Parts], bytes | None]] = {}  # None: it has no such part
NOTHING = b"\xfe\xff\x00\xe0\0\0\0\0"  # an item


def mutation(function: Callable[[Chance, Parts], bytes | None]) -> Callable[[Chance, Parts], bytes | None]:
    MUTATIONS[function.__name__.replace("_", " ")] = function
    return function


def pick(rng: Chance, among: Sequence[Any]) -> Any:
    return among[int(rng.integers(len(among)))]


def flipped(rng: Chance, data: bytes, low: int, high: int, most: int = 8) -> bytes | None:
    if high <= low:
        return None
    changed = bytearray(data)
    for at in rng.integers(low, high, rng.integers(1, most + 1)):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


@mutation
def bits_of_the_header(rng: Chance, made: Parts) -> bytes | None:
    return flipped(rng, made.data, made.body, made.pixels)


@mutation
def bits_of_the_meta(rng: Chance, made: Parts) -> bytes | None:
    return flipped(rng, made.data, 128, made.body, 3)


@mutation
def bits_of_the_pixels(rng: Chance, made: Parts) -> bytes | None:
    return flipped(rng, made.data, made.pixels, len(made.data), 16)


@mutation
def bits_anywhere(rng: Chance, made: Parts) -> bytes | None:
    return flipped(rng, made.data, 0, len(made.data), 64)


@mutation
def bits_of_the_codestream(rng: Chance, made: Parts) -> bytes | None:
    """In the first bytes of a fragment stand its sizes, tables and levels."""
    if not (streams := made.fragments):
        return None
    first = pick(rng, streams[1:] or streams)
    return flipped(rng, made.data, first.value, min(first.end, first.value + 120), 3)


@mutation
def bytes_overwritten(rng: Chance, made: Parts) -> bytes:
    at, size = int(rng.integers(132, len(made.data))), int(rng.integers(1, 65))
    new = pick(rng, [bytes(size), b"\xff" * size, rng.bytes(size), b"9" * size, made.data[150 : 150 + size]])
    return made.data[:at] + new + made.data[at + (size if rng.random() < 0.7 else 0) :]


@mutation
def cut_anywhere(rng: Chance, made: Parts) -> bytes:
    return made.data[: int(rng.integers(0, len(made.data)))]


@mutation
def cut_at_an_element(rng: Chance, made: Parts) -> bytes:
    e = pick(rng, made.elements)
    return made.data[: max(pick(rng, [e.start, e.value, e.end]) + int(rng.integers(-2, 13)), 0)]


@mutation
def a_part_left_out(rng: Chance, made: Parts) -> bytes:
    at = int(rng.integers(132, len(made.data)))
    return made.data[:at] + made.data[at + int(rng.integers(1, 300)) :]


@mutation
def a_length_that_lies(rng: Chance, made: Parts) -> bytes:
    e, data = pick(rng, made.elements), made.data
    true, rest = e.end - e.value, len(data) - e.value
    length = pick(rng, [*LENGTHS, true + 1, true - 1, true + 2, true * 2, rest, rest + 1])
    return data[: e.value - e.width] + made.number(length, e.width) + data[e.value :]


@mutation
def another_vr(rng: Chance, made: Parts) -> bytes | None:
    e, vr = pick(rng, [e for e in made.elements if e.tag < ITEM]), pick(rng, VRS)
    if made.implicit and e.start >= made.body:
        return None
    if rng.random() < 0.3:  # with the length in the form of the old one
        return made.data[: e.start + 4] + vr + made.data[e.start + 6 :]
    length = made.number(e.end - e.value, 4 if vr in LONG else 2)
    return made.data[: e.start + 4] + vr + bytes(2 * (vr in LONG)) + length + made.data[e.value :]


@mutation
def another_tag(rng: Chance, made: Parts) -> bytes:
    e, other = pick(rng, made.elements), pick(rng, made.elements)
    tag = made.data[other.start : other.start + 4] if rng.random() < 0.6 else rng.bytes(4)
    return made.data[: e.start] + tag + made.data[e.start + 4 :]


@mutation
def elements_exchanged(rng: Chance, made: Parts) -> bytes | None:
    e, other = sorted((pick(rng, made.elements), pick(rng, made.elements)), key=lambda e: e.start)
    first, second, data = slice(e.start, e.end), slice(other.start, other.end), made.data
    if e.end > other.start:
        return None
    return data[: e.start] + data[second] + data[e.end : other.start] + data[first] + data[other.end :]


@mutation
def an_element_repeated(rng: Chance, made: Parts) -> bytes:
    e = pick(rng, made.elements)
    return made.data[: e.end] + made.data[e.start : e.end] * pick(rng, [1, 1, 2, 20]) + made.data[e.end :]


@mutation
def an_element_moved_into_another(rng: Chance, made: Parts) -> bytes:
    e, other = pick(rng, made.elements), pick(rng, made.elements)
    return made.data[: other.value] + made.data[e.start : e.end] + made.data[other.value :]


@mutation
def an_element_left_out(rng: Chance, made: Parts) -> bytes:
    e = pick(rng, made.elements)
    return made.data[: e.start] + made.data[e.end :]


@mutation
def an_element_emptied(rng: Chance, made: Parts) -> bytes:
    e = pick(rng, made.elements)
    return made.data[: e.value - e.width] + bytes(e.width) + made.data[e.end :]


@mutation
def a_value_of_another_kind(rng: Chance, made: Parts) -> bytes:
    e = pick(rng, made.elements)
    size = e.end - e.value
    new = rng.bytes(size) if rng.random() < 0.5 else (NOTHING[:4] + b"\xff" * 4) * (size // 8)
    return made.data[: e.value] + new.ljust(size, b"\0") + made.data[e.end :]


@mutation
def the_end_of_another_file(rng: Chance, made: Parts) -> bytes:
    other = taken(pick(rng, list(SEEDS)))
    return made.data[: pick(rng, made.elements).start] + other.data[pick(rng, other.elements).start :]


@mutation
def absurd_sizes(rng: Chance, made: Parts) -> bytes:
    for tag in rng.choice(SIZES, rng.integers(1, 4), replace=False).tolist():
        frames = tag == FRAMES
        value = str(pick(rng, LARGE)).encode() if frames else made.number(pick(rng, SHORTS), 2)
        made = made.with_value(tag, b"IS" if frames else b"US", value)
    return made.data


@mutation
def absurd_numbers(rng: Chance, made: Parts) -> bytes:
    tag, count = pick(rng, DECIMALS), pick(rng, [1, 1, 2, 3, 6, 1000])
    value = "\\".join(pick(rng, NUMBERS) for _ in range(count)).encode()
    return made.with_value(tag, b"IS" if tag == FRAMES else b"DS", value).data


@mutation
def uids_that_lead_elsewhere(rng: Chance, made: Parts) -> bytes:
    for tag in rng.choice(NAMES, rng.integers(1, 4), replace=False).tolist():
        made = made.with_value(tag, b"UI", pick(rng, UIDS).encode())
    return made.data


@mutation
def hostile_text(rng: Chance, made: Parts) -> bytes:
    for tag in rng.choice(WORDS, rng.integers(1, 4), replace=False).tolist():
        made = made.with_value(tag, b"LO", pick(rng, CHARSETS if tag == CHARACTERS else TEXTS + NUMBERS).encode())
    return made.data


@mutation
def another_syntax(rng: Chance, made: Parts) -> bytes:
    return made.with_value(0x20010, b"UI", pick(rng, SYNTAXES).encode()).data


@mutation
def fragments_that_lie(rng: Chance, made: Parts) -> bytes | None:
    if not (streams := made.fragments):
        return None
    data, table, one, last = made.data, streams[0], pick(rng, streams), streams[-1]
    offsets = b"".join(made.number(pick(rng, LENGTHS), 4) for _ in LENGTHS)
    start = data[one.value : one.end][: int(rng.integers(0, 60))].ljust(one.end - one.value, b"\0")
    return pick(rng, [
        data[: table.start] + made.coded(ITEM, b"", offsets) + data[table.end :],
        data[: one.start] + NOTHING * pick(rng, [1, 50, 5000]) + data[one.start :],
        data[: one.start] + b"\xfe\xff\xdd\xe0\0\0\0\0" + data[one.start :],
        data[: last.end],
        data[: one.value] + start + data[one.end :],
        data[: one.value] + data[last.value : last.end][::-1] + data[one.end :],
    ])  # fmt: skip


@mutation
def a_codestream_of_another_size(rng: Chance, made: Parts) -> bytes | None:
    """As JPEG's SOF and JPEG 2000's SIZ have it."""
    data = bytearray(made.data)
    found = [data.find(bytes([0xFF, mark]), made.pixels) for mark in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7, 0x51)]
    if not (marks := [at for at in found if at > 0]):
        return None
    at = pick(rng, marks)
    start, width, count = (at + 6, 4, 8) if data[at + 1] == 0x51 else (at + 5, 2, 2)
    for _ in range(int(rng.integers(1, 3))):
        place = start + width * int(rng.integers(count))
        data[place : place + width] = (pick(rng, LARGE) % (1 << 8 * width)).to_bytes(width, "big")
    return bytes(data)


@mutation
def offsets_in_a_circle(rng: Chance, made: Parts) -> bytes | None:
    """Of a DICOMDIR: next and lower records that are the record itself, one before, or nowhere."""
    records = [e.start for e in made.elements if e.tag == ITEM]
    offsets: list[Element] = [e for e in made.elements if e.tag in (0x41200, 0x41202, 0x41400, 0x41420)]
    if not records or not offsets:
        return None
    data = bytearray(made.data)
    for e in [pick(rng, offsets) for _ in range(int(rng.integers(1, 6)))]:
        data[e.value : e.value + 4] = made.number(pick(rng, [*records, pick(rng, LENGTHS), e.start]), 4)
    return bytes(data)


@mutation
def nothing(rng: Chance, made: Parts) -> bytes:
    return made.data


taken = lru_cache(8)(parts_of)


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """Return name and bytes of a mutant: the bombs come first, then every mutation of every kind of file in turn."""
    if number < len(BOMBS):
        name = list(BOMBS)[number]
        return f"#{number} {name}", BOMBS[name]()
    rng, (turn, kind) = np.random.default_rng((seed, number)), divmod(number - len(BOMBS), len(MUTATIONS))
    name, source = list(MUTATIONS)[kind], list(SEEDS)[turn % len(SEEDS)]
    made = taken(source)
    data = MUTATIONS[name](rng, made)
    if data is None:
        name, data = "bits anywhere", bits_anywhere(rng, made) or made.data
    return f"#{number} {source}: {name}", put_together(made, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--start", type=int, default=0, help=f"the first number; the first {len(BOMBS)} are bombs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, help="write this one to --keep, and do no more")
    parser.add_argument("--keep", type=Path, default=Path("mutant.dcm"))
    chosen = parser.parse_args()
    if chosen.only is not None:
        name, data = mutant(chosen.seed, chosen.only)
        chosen.keep.write_bytes(data)
        print(name, chosen.keep)
        return
    with tempfile.TemporaryDirectory() as folder:
        numbers = range(chosen.start, chosen.start + chosen.files)
        print(gauntlet.campaign(Path(folder), chosen.seed, numbers, jobs=chosen.jobs, progress=True))


if __name__ == "__main__":
    main()
