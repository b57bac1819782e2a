"""One mapping for a whole study: the same new UID wherever the old one stood, one offset for all dates of a patient."""

from __future__ import annotations

import hmac
import re
import secrets
import uuid
from datetime import date, timedelta
from functools import lru_cache

from radkit.errors import DicomError

SHORTEST = 8  # characters of a secret: a UID has to stay beyond guessing
OFTEN = """ap pa lat ct mr pet us xa dx cr nm rt ac wb with without contrast native plain arterial portal venous delayed
phase axial sagittal coronal oblique thin thick slice lung soft tissue bone kernel series scan localizer scout topogram
t1 t2 pd flair dwi adc stir tse gre tof mprage space mip mpr recon reconstruction low dose screening follow up"""
STANDARD = b"1.2.840.10008."  # UIDs of the standard itself: they say what something is, not who


class Mapping:
    """New UIDs, pseudonyms and date offsets, each an HMAC-SHA-256 (RFC 2104) of the old value under one key.

    The same secret makes the same mapping, today and next year: keep it apart from the output. Without one the key is
    random and is gone with this object, and nobody can make the mapping again. A short secret is a DicomError.
    """

    def __init__(self, secret: str | bytes | None = None):
        if secret is not None and len(secret) < SHORTEST:
            raise DicomError(f"A secret has at least {SHORTEST} characters, this one {len(secret)}: use a longer one.")
        self._key = secret.encode() if isinstance(secret, str) else secret or secrets.token_bytes(32)
        self.uid = lru_cache(1 << 20)(self._uid)

    def _uid(self, old: bytes) -> bytes:
        """Return a UID of the form 2.25 (PS3.5 B.2); one of the standard itself stays as it is."""
        if not old or old.startswith(STANDARD):
            return old
        return b"2.25.%d" % uuid.UUID(bytes=self._digest(b"uid", old)[:16], version=4).int

    def pseudonym(self, patient: bytes) -> bytes:
        """Return what stands for a patient: RK and twelve digits and letters."""
        return b"RK" + self._digest(b"patient", patient)[:6].hex().upper().encode()

    def days(self, patient: bytes) -> int:
        """Return by how many days a patient's dates are moved: into the past, by one month to ten years."""
        return -30 - int.from_bytes(self._digest(b"days", patient)[:8], "big") % 3620

    def _digest(self, purpose: bytes, value: bytes) -> bytes:
        return hmac.digest(self._key, purpose + b":" + value, "sha256")


def shifted(value: bytes, days: int) -> bytes | None:
    """Move a DA or DT value, one or several, by whole days and keep its time; None if it is no date."""
    moved = []
    for part in value.strip(b" \0").split(b"\\"):
        found = re.fullmatch(rb"(\d{4})[.-]?(\d\d)[.-]?(\d\d)(\d{0,6}(?:\.\d{1,6})?(?:[+-]\d{4})?)", part.strip())
        try:
            day = date(*map(int, found.groups()[:3])) + timedelta(days) if found else None
        except (ValueError, OverflowError):
            return None
        if part.strip() and (day is None or found is None):
            return None
        moved.append(b"%04d%02d%02d%s" % (day.year, day.month, day.day, found[4]) if day and found else b"")
    return b"\\".join(moved)


def cleaned(text: bytes, own: frozenset[bytes]) -> bytes:
    """Keep of free text the words for anatomy, modality and acquisition: no other word, no number, no date.

    ``own`` holds the words of the patient's name and numbers, which go even where they are a word of anatomy too.
    """
    words = re.findall(rb"(?<![A-Za-z0-9])[A-Za-z]+[12]?(?![A-Za-z0-9])", text)
    return b" ".join(word for word in words if word.lower() in _vocabulary() and word.lower() not in own)


@lru_cache(1)
def _vocabulary() -> frozenset[bytes]:
    """Return the words of PS3.16's code lists for regions, modifiers, laterality, modalities and projections."""
    from pydicom.sr.codedict import codes  # a quarter of a second

    lists = (codes.CID2, codes.CID4, codes.CID29, codes.CID244, codes.CID4010)
    names = " ".join(name for listed in lists for name in listed.dir())
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", names) + OFTEN.split()
    return frozenset(word.lower().encode() for word in words)
