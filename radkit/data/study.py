"""One study of a cohort: its images, the exact truth, the label as it was drawn; and all of it as files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from highdicom import Volume
from pydicom.uid import generate_uid

from radkit._folders import whole_folder
from radkit.dicom.table import counted
from radkit.errors import DataError
from radkit_phantoms.drawing import burn, draw

from .ct import HEADERS, write_ct_series
from .mr import write_mr_series
from .volumes import write_nifti

_SHARED = ("StudyInstance", "FrameOfReference")  # what the series of a study have in common


@dataclass(frozen=True)
class Lesion:
    """One lesion, exactly.

    ``number`` is its value in the masks, ``diameter_mm`` that of the sphere of its volume, ``centre`` in LPS mm,
    ``box`` its first voxel and the one after its last (slice, row, column), ``attributes`` its kind.
    """

    number: int
    volume_mm3: float
    diameter_mm: float
    centre: tuple[float, float, float]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    attributes: dict[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """One time point (from 0, half a year apart) of one patient, whom nobody scanned.

    ``images`` by name (``t1``, ``t2``, ``flair``; ``ct`` in HU) lie on one grid: int16 (slice, row, column), LPS mm,
    slices from feet to head, row 0 anterior, column 0 the patient's right. On that grid are ``truth``, uint8, where
    more than half of a voxel of value i is lesion i, and ``mask``, the same as a reader drew it. ``anatomy`` is the
    source in the catalog that it was grown from, ``made_from`` whom to name for it; ``marked`` is whether the site's
    marker is burned in.
    """

    patient: str
    time: int
    images: dict[str, Volume]
    truth: Volume
    mask: Volume
    lesions: tuple[Lesion, ...]
    site: str
    scanner: str
    sex: str
    age: int
    anatomy: str
    made_from: str = ""
    marked: bool = False

    @property
    def has_lesion(self) -> bool:
        """Whether there is a lesion, drawn or not."""
        return bool(self.lesions)

    @property
    def grid(self) -> str:
        """The grid in words."""
        shape, spacing = (" × ".join(f"{n:.4g}" for n in of) for of in (self.truth.shape, self.truth.spacing))
        return f"{shape} voxels of {spacing} mm"

    def __repr__(self) -> str:
        who = f"{self.patient}, time {self.time}, {self.sex} {self.age}, {self.site}, scanner {self.scanner}"
        return f"Study({who}: {', '.join(self.images)}, {self.grid}, {counted(len(self.lesions), 'lesion')})"

    def drawn_by(self, reader: int, *, wander_mm: float = 1.0) -> Volume:
        """Return the mask that a reader draws: the truth, moved by the reader's habit and an unsteady hand.

        `reader` is who, from 0 (who also drew the ``mask`` of a cohort with label noise); `wander_mm` is the standard
        deviation of the distance from the drawn outline to the true one. Small lesions may be overlooked. uint8, on the
        grid and with the numbers of the truth, the same at each call; what cannot be drawn so is a DataError.
        """
        if not (isinstance(reader, (int, np.integer)) and reader >= 0 and 0 <= wander_mm <= 10):
            raise DataError(f"Expected a reader from 0 and a wander of 0 to 10 mm, got {reader!r} and {wander_mm!r}")
        key = (crc32(self.patient.encode()), self.time)
        return draw(self.truth, key, reader=int(reader), wander_mm=wander_mm) if wander_mm else self.truth

    def with_marker(self) -> Study:
        """Return the study with the first letter of its site burned into a corner of every slice."""
        images = {
            name: burn(image, self.site[0], self.truth, 3071 if name == "ct" else int(image.array.max()))
            for name, image in self.images.items()
        }
        return replace(self, images=images, marked=True)

    def write(self, folder: str | Path) -> list[Path]:
        """Write it as one DICOM study (CT or MR Image Storage, PS3.3 A.3 and A.4) in one frame of reference.

        Each image is a series in a folder of its name; beside them are ``truth.json``, who and every lesion, and
        ``mask.nii.gz``, the label as drawn. UIDs come from the content; identities, dates and devices are invented.
        The folder must not exist (DataError), and appears when all is written. Returns every file.
        """
        with new_folder(folder) as part:
            for number, (name, image) in enumerate(self.images.items(), start=1):
                header = self._header(name, number)
                if name == "ct":
                    kernel = {"ConvolutionKernel": "SHARP" if self.scanner == "B" else "SOFT"}
                    write_ct_series(image, part / name, header=header | kernel)
                else:
                    tesla = {"MagneticFieldStrength": {"A": 1.5, "B": 3, "C": 1}.get(self.scanner, 1.5)}
                    write_mr_series(image, part / name, sequence=name, header=header | tesla)
            facts = {key: value for key, value in vars(self).items() if key not in ("images", "truth", "mask")}
            facts["lesions"] = [asdict(lesion) for lesion in self.lesions]
            (part / "truth.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
            write_nifti(part / "mask.nii.gz", self.mask)
        return sorted(path for path in Path(folder).rglob("*") if path.is_file())

    def _header(self, name: str, number: int) -> dict[str, Any]:
        """Return what the header of an image says of the study and the series."""
        year, day = 2024 + self.time // 2, ("0115", "0715")[self.time % 2]
        content = hashlib.sha256(b"".join(image.array.tobytes() for image in self.images.values())).hexdigest()
        entropy = [self.patient, str(self.time), content]
        uids = {f"{what}UID": generate_uid(entropy_srcs=[*entropy, what]) for what in _SHARED}
        dates = dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), f"{year}{day}")
        return {
            **{**HEADERS["generated"], **HEADERS["grown"], **uids, **dates, "PatientID": self.patient},
            **{"PatientSex": self.sex, "PatientAge": f"{self.age:03d}Y", "PatientBirthDate": f"{year - self.age}0101"},
            "StudyID": f"TIME-{self.time}",
            "AccessionNumber": f"{self.patient}-{self.time}",
            "SeriesNumber": number,
            "StudyDescription": f"Cohort, time {self.time} (grown by radkit)",
            "SeriesDescription": f"{name.upper()} (grown by radkit)",
            "InstitutionName": f"{self.site} hospital (invented)",
            "ManufacturerModelName": f"RADKIT scanner {self.scanner} (invented)",
            "StationName": f"RADKIT-{self.scanner}",
            "ImageType": ["DERIVED", "PRIMARY", "AXIAL" if name == "ct" else "OTHER"],
            "DerivationDescription": f"Grown by radkit from {self.anatomy}: nobody was scanned.",
            "ImageComments": f"Grown by radkit; no patient; not for diagnosis. Made from: {self.made_from}",
            "BurnedInAnnotation": "YES" if self.marked else "NO",
        }


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Fill a folder under another name, so that no half of it is ever seen: an error or an interrupt removes it."""
    folder = Path(folder)
    if folder.exists():
        raise DataError(f"Expected a folder that does not exist yet, but there is {folder}: name another, or remove it")
    with whole_folder(folder, "study", "", overwrite=False, error=DataError) as new:
        new.mkdir()
        yield new
