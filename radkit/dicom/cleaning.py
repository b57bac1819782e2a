"""One object, de-identified: every element at every depth gets the action that the profile has for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
from highdicom.sr import CodedConcept
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from radkit import __version__
from radkit.errors import DicomError

from .mapping import Mapping, cleaned, shifted
from .profile import DATES, PROFILE, action_for, options_of_the_standard, safe_private
from .walker import PIXEL_DATA

Done = Counter[tuple[str, str]]  # how often an action was taken on an attribute

NAME, NUMBER, STUDY = 0x00100010, 0x00100020, 0x0020000D
CONTENT, DOCUMENT = 0x0040A730, 0x00420011
# Who is in the object: their words go from all text that may stay.
OWN = (0x00080050, 0x00080090, 0x00081050, 0x00081070, NAME, NUMBER, 0x00101000, 0x00101001, 0x00101005)
# What a subject is called and how old (PS3.16 TID 1007), by code.
SUBJECT = ("121029", "121030", "121031", "121032", "121033")
BINARY = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "SV": 8, "UV": 8}  # bytes a value
DUMMIES = {
    **{"AS": b"000Y", "DA": b"19000101", "DT": b"19000101000000", "TM": b"000000", "DS": b"0", "IS": b"0"},
    **{"UR": b"about:blank", "OB": bytes(2), "OW": bytes(2)},
    **dict.fromkeys(("AT", "OF", "OL"), bytes(4)),
    **dict.fromkeys(("OD", "OV"), bytes(8)),
    **{vr: bytes(size) for vr, size in BINARY.items()},
}
# A value that may stay has to be what its representation says, or it hides something else.
FITS = {
    "UI": re.compile(rb"[0-9.\\ \0]*"),
    **dict.fromkeys(("DS", "IS"), re.compile(rb"[0-9eE.+\-\\ \0]*")),
    **dict.fromkeys(("TM", "DA", "DT"), re.compile(rb"[0-9.:+\-\\ \0]*")),
    "AS": re.compile(rb"([0-9]{3}[DWMY])?[\\ \0]*"),
}
TEXT = ("LO", "SH", "UC", "LT", "ST", "UT", "PN", "AE", "UR")
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj
trailer<</Root 1 0 R>>
%%EOF
"""  # one empty page


class Refused(DicomError):
    """An object that is left out; the message holds nothing of it."""


class Cleaner:
    """What is done to each object of one run."""

    def __init__(self, mapping: Mapping, options: frozenset[str]):
        self.mapping, self.options = mapping, options

    def clean(self, dataset: Dataset, *, pixels_cleaned: bool = False) -> Done:
        """De-identify a dataset in place, file meta information and preamble too; count by action and attribute."""
        own = b" ".join(_bytes(dataset.get_item(tag)).lower() for tag in OWN if tag in dataset)
        self._own = frozenset(word for word in re.split(rb"[\0-/:-@\[-`{-\x7f]+", own) if len(word) > 3)
        known = (NUMBER, NAME, STUDY)  # without a PatientID the name is the patient, without both the study
        self._patient = next((v for tag in known if tag in dataset if (v := _bytes(dataset.get_item(tag)))), b"")
        self._coding, self._done = dataset.original_encoding, Done()
        _clean_pixels(dataset)
        self._walk(dataset)
        self._record(dataset, pixels_cleaned)
        return self._done

    def _walk(self, items: Dataset, inside: str = "") -> None:
        """Act on each element; ``inside`` is the action of a sequence around, for what could stay elsewhere."""
        safe = self._safe_tags(items) if "retain-safe-private" in self.options else ()
        for tag in list(items.keys()):
            element = items.get_item(tag)
            vr = element.VR or ""
            action = "" if tag in safe else "X" if tag < 0x00080000 else action_for(int(tag), vr, self.options)
            known = vr if action == "X" or tag in safe else dictionary_VR(tag)[:2]
            vr = known if vr in ("", "UN") else vr
            if vr == "SQ" and action not in ("X", "Z"):
                action = self._sequence(items, tag, action or inside)
            else:
                action = self._act(items, element, vr, self._checked(element, known, action, inside))
            if action:
                self._done[action, "private" if tag.is_private else keyword_for_tag(tag) or "unknown"] += 1

    def _safe_tags(self, items: Dataset) -> set[BaseTag]:
        """Return the private numbers of the standard's safe table, and the creators that they need."""
        safe: set[BaseTag] = set()
        for tag in [tag for tag in list(items.keys()) if tag.is_private and tag.element > 0xFF]:
            element, creator = items.get_item(tag), items.get_item(Tag(tag.group, tag.element >> 8))
            name = _bytes(creator).decode("latin-1") if creator else ""
            number = element.VR in BINARY or (element.VR in ("DS", "IS") and FITS["DS"].fullmatch(_bytes(element)))
            if number and (name, tag.group, tag.element & 0xFF) in safe_private():
                safe |= {tag, creator.tag}
        return safe

    def _checked(self, element: DataElement | RawDataElement, vr: str, action: str, inside: str) -> str:
        """Return the action, a stricter one if the value is not what it should be or names the patient."""
        if action:
            return action
        if inside and vr in TEXT:
            return inside
        if vr in FITS:
            return "" if FITS[vr].fullmatch(_bytes(element)) else "U" if vr == "UI" else "D"
        return "D" if vr in TEXT and any(word in _bytes(element).lower() for word in self._own) else ""

    def _act(self, items: Dataset, element: DataElement | RawDataElement, vr: str, action: str) -> str:
        """Carry an action out on an element that is no sequence with items; return the action taken."""
        tag = element.tag
        action = "U" if vr == "UI" and action in ("D", "C") else action
        if action == "X":
            del items[tag]
        elif action == "Z":
            self._put(items, tag, vr, self.mapping.pseudonym(self._patient) if tag in (NAME, NUMBER) else b"")
        elif action == "U":
            old = _bytes(element)
            self._put(items, tag, vr, b"\\".join(self.mapping.uid(part.strip()) for part in old.split(b"\\")))
        elif action == "S" and (moved := shifted(_bytes(element), self.mapping.days(self._patient))) is not None:
            self._put(items, tag, vr, moved)
        elif action == "C" and (kept := cleaned(_bytes(element), self._own)):
            self._put(items, tag, vr, kept[:16] if vr in ("SH", "AE") else kept)
        elif action:
            self._put(items, tag, vr, self._dummy(items, tag, vr))
            return "D"
        return action

    def _dummy(self, items: Dataset, tag: int, vr: str) -> bytes:
        """Return a value that is valid and says nothing."""
        if tag == NUMBER:
            return self.mapping.pseudonym(self._patient)
        if tag == DOCUMENT and (kind := items.get("MIMETypeOfEncapsulatedDocument")):
            if kind != "application/pdf":
                raise Refused("the document in it is no PDF, and radkit has no empty one to put in its place")
            return PDF
        return DUMMIES.get(vr, b"REMOVED")

    def _put(self, items: Dataset, tag: int, vr: str, value: bytes) -> None:
        """Set a value as it stands in a file."""
        if vr == "SQ":
            items[tag] = DataElement(tag, "SQ", [])
            return
        value += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) % 2)
        items[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, *self._coding)

    def _sequence(self, items: Dataset, tag: int, action: str) -> str:
        """Walk through the items of a sequence; of a content tree (PS3.3 C.17.3) only references stay by default."""
        if items[tag].VR != "SQ":
            del items[tag]
            return "X"
        if tag == CONTENT and action:
            items[tag].value = _references(items[tag].value)
            items.pop("ContentTemplateSequence", None)
        elif tag == CONTENT:
            items[tag].value = [item for item in items[tag].value if _concept(item) not in SUBJECT]
        for item in items[tag].value:
            self._walk(item, "" if tag == CONTENT or action == "U" else action)
        return action

    def _record(self, dataset: Dataset, pixels_cleaned: bool) -> None:
        """Say in the header what was done (PS3.15 E.1.1 and E.3), and write the file meta information anew."""
        options = self.options - (set() if pixels_cleaned else {"clean-pixel-data"})
        done = [options_of_the_standard()[name].code for name in sorted(options)]
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = [f"radkit {__version__}", *(text[:64] for _, text in (PROFILE, *done))]
        codes = [CodedConcept(value, "DCM", meaning) for value, meaning in (PROFILE, *done)]
        dataset.DeidentificationMethodCodeSequence = codes
        dataset.LongitudinalTemporalInformationModified = "MODIFIED" if DATES in options else "REMOVED"
        if pixels_cleaned:
            dataset.BurnedInAnnotation = "NO"
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        dataset.file_meta, dataset.preamble = meta, bytes(128)


def _concept(item: Dataset) -> str:
    """Return the code of what a content item is about."""
    return str(item.ConceptNameCodeSequence[0].get("CodeValue", "")) if item.get("ConceptNameCodeSequence") else ""


def _references(content: Iterable[Dataset]) -> list[Dataset]:
    """Return a content tree's references to images, or one item that says that nothing is left."""
    kept = [item for item in content if str(item.get("ValueType", "")) in ("IMAGE", "COMPOSITE", "WAVEFORM")]
    for item in kept:
        item.pop("ContentSequence", None)
    if kept:
        return kept
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", "REMOVED"
    item.ConceptNameCodeSequence = [CodedConcept("121106", "DCM", "Comment")]
    return [item]


def _bytes(element: DataElement | RawDataElement) -> bytes:
    """Return a value as it stands in a file, without padding."""
    value = element.value
    if isinstance(value, bytes):
        return value.strip(b" \0")
    values = [] if value is None else value if isinstance(value, MultiValue) else [value]
    return "\\".join(map(str, values)).encode("utf-8", "replace")


def _clean_pixels(dataset: Dataset) -> None:
    """Take from pixel data what is no pixel: excess bytes, overlays in unused bits, comments in compressed streams."""
    if PIXEL_DATA not in dataset or not isinstance(data := dataset.get_item(PIXEL_DATA).value, bytes):
        return
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        data = _without_comments(data)
    else:
        keywords = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "NumberOfFrames")
        rows, columns, samples, bits, stored, frames = (int(dataset.get(keyword) or 1) for keyword in keywords)
        samples = 2 if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" else samples
        data = data[: -(-rows * columns * samples * frames * bits // 8)]
        if bits == 16 > stored and any(0x6000 <= tag.group < 0x6100 for tag in list(dataset.keys())):
            order = "<" if dataset.original_encoding[1] else ">"
            sign = "i" if dataset.get("PixelRepresentation") else "u"
            words = np.frombuffer(data, f"{order}{sign}2")
            data = (words << 16 - stored >> 16 - stored).astype(words.dtype).tobytes()
        data += b"\0" * (len(data) % 2)
    dataset[PIXEL_DATA].value = data


def _without_comments(data: bytes) -> bytes:
    """Blank the comments and application segments of JPEG streams (ISO 10918-1 B.2.4, ISO 15444-1 A.9.2)."""
    stream = bytearray(data)
    for found in re.finditer(rb"\xfe\xff\x00\xe0.{4}(?=\xff[\xd8\x4f])", data, re.DOTALL):
        at = found.end() + 2
        while at + 4 <= len(stream) and stream[at] == 0xFF and (marker := stream[at + 1]) not in (0xDA, 0x93):
            end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
            if marker in (0xFE, 0x64) or (0xE1 <= marker <= 0xEF and marker not in (0xE8, 0xEE)):
                stream[at + 4 : end] = bytes(len(stream[at + 4 : end]))
            at = end
    return bytes(stream)
