"""Key objects: a list of images and results worth looking at, with a coded title (PS3.3 A.35.4, PS3.16 TID 2010)."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from highdicom import ko
from pydicom import Dataset
from pydicom.sr.coding import Code

from .. import __version__
from ..dicom import read_headers
from ..dicom.series import Source
from ..errors import ResultError
from ._common import finish, identity, making, observer
from .terms import TITLES, code_of


@dataclass(frozen=True)
class KeyObjects:
    """What a key object note holds: its title, why these, and (StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID)."""

    title: str
    description: str
    references: list[tuple[str, str, str]]


def write_key_objects(
    images: Source,
    *,
    title: str | Code = "of interest",
    description: str = "",
    source: Source | None = None,
    algorithm: str = "radkit lung nodule",
    version: str = __version__,
    when: datetime.datetime | None = None,
) -> ko.KeyObjectSelectionDocument:
    """Make a key object note that points at images, segmentations and reports of one study.

    Parameters
    ----------
    images : folder, list of paths or list of datasets
        What to point at: images, SEG, SR.
    title : str or pydicom.sr.coding.Code
        A meaning in PS3.16 CID 7010: "of interest", "for referring provider", "for surgery", "for conference", ...
    description : str
        Why these, in a sentence.
    source : folder, list of paths or list of datasets, optional
        The images of the study, whose patient and study the note takes; those of the first of ``images`` unless given.
    algorithm, version : str
        What chose them: software, not a person.
    when : datetime.datetime, optional
        Date of the content; that of the first image unless given.

    Raises
    ------
    ResultError
        If there is nothing to point at, the title has no code, or the objects are of more than one study.
    """
    chosen = read_headers(images)
    first = chosen[0] if source is None else read_headers(source)[0]
    if (studies := len({str(one.get("StudyInstanceUID")) for one in [first, *chosen]})) > 1:
        raise ResultError(f"Expected objects of one study, found {studies} studies: write a note for each.")
    heading = code_of(title, "title", TITLES)
    if heading == code_of("best in set", "title", TITLES):
        raise ResultError("The title 'best in set' needs a second code that says best by what: choose another.")
    content = ([one.SOPInstanceUID for one in chosen], heading, description, algorithm, version, when)
    with making("key object note"):
        listed = ko.KeyObjectSelection(heading, chosen, None, observer(algorithm, version), description or None)
        note = ko.KeyObjectSelectionDocument(chosen, listed, **identity("KO", 902, content, algorithm, version))
    for item in note.ContentSequence:
        if "ReferencedSOPSequence" in item:
            del item.ConceptNameCodeSequence  # TID 2010 gives what it points at no name, highdicom does
    finish(note, [first], when)
    return note


def read_key_objects(note: Dataset) -> KeyObjects:
    """Read a key object note.

    Raises
    ------
    ResultError
        If it is something else.
    """
    try:
        document = ko.KeyObjectSelectionDocument.from_dataset(note)
        root = document.content[0]
        texts = [item.value for item in root.ContentSequence if item.name.value == "113012"]  # Key Object Description
        pointed = document.content.get_references()
        uids = [document.resolve_reference(one.referenced_sop_instance_uid) for one in pointed]
        return KeyObjects(root.name.meaning, texts[0] if texts else "", [(str(a), str(b), str(c)) for a, b, c in uids])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"Expected a key object note (KO): {error}") from error
