"""Small DICOM files of many kinds, from which mutants are made: pydicom's own, and some made here."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from test_decoding import LOSSLESS, LOSSY, dataset_of

WHO = ("Citizen", "C-1234567", "19580312")  # name, number and birthday in the files made here
OURS = [
    *("CT_small", "MR_small", "MR_small_implicit", "MR_small_bigendian", "MR_small_RLE", "MR_small_jp2klossless"),
    *("MR_small_jpeg_ls_lossless", "image_dfl", "JPEG2000", "JPGExtended", "SC_rgb_small_odd", "SC_rgb_small_odd_jpeg"),
    *("SC_rgb_dcmtk_+eb+cr", "SC_rgb_dcmtk_+eb+cy+s4", "SC_rgb_rle_16bit_2frame", "SC_ybr_full_422_uncompressed"),
    *("SC_rgb_jls_lossy_line", "SC_rgb_jpeg_dcmtk", "rtdose", "rtdose_expb_1frame", "rtplan", "test-SR", "reportsi"),
    *("liver_1frame", "ExplVR_BigEnd", "UN_sequence", "nested_priv_SQ", "priv_SQ", "badVR", "empty_charset_LEI"),
    "no_meta_group_length",
]
DIRECTORIES = ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit"]
NATIVE = {"implicit": uid.ImplicitVRLittleEndian, "big": uid.ExplicitVRBigEndian,
          "deflated": uid.DeflatedExplicitVRLittleEndian}  # fmt: skip


@cache
def seed(name: str) -> bytes:
    """Return the bytes of a seed."""
    return SEEDS[name]()


def written(dataset: Dataset, syntax: str = "") -> bytes:
    """Return a data set as a file, with a patient; uncompressed values in another byte order where that is asked."""
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{WHO[0]}^Jane", *WHO[1:]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.StudyDate = "1.2.3.4", "1.2.3.4.5", "20240229"
    if syntax:
        dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
        if syntax == uid.ExplicitVRBigEndian and "PixelData" in dataset and dataset.BitsAllocated == 16:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    file = io.BytesIO()
    dataset.set_original_encoding(syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian)
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def item(**values: object) -> Sequence:
    """Return a sequence of one item."""
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return Sequence([found])


def slice_of(array: np.ndarray, **more: object) -> Dataset:
    """Return a CT slice with all that can stand beside its pixels."""
    dataset = dataset_of(array, bits=12)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid.CTImageStorage
    dataset.Modality, dataset.ImagePositionPatient = "CT", [-10, -12.5, 40]
    dataset.ImageOrientationPatient, dataset.PixelSpacing, dataset.SliceThickness = [1, 0, 0, 0, 1, 0], [0.7, 0.7], 2.5
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelPaddingValue = 1, -1024, 0
    dataset.WindowCenter, dataset.WindowWidth = [40, -600], [400, 1500]
    dataset.SeriesDescription, dataset.SpecificCharacterSet = "Thorax, Citizen", "ISO_IR 100"
    block = dataset.private_block(0x0019, "RADKIT", create=True)
    block.add_new(1, "LO", "of nobody's concern")
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (24, 32)).astype(np.uint16)


def tables() -> Dataset:
    """A slice with modality and VOI LUT, overlays in their own group and in the unused bits, an icon."""
    entries = {"LUTDescriptor": [4096, 0, 16], "LUTData": np.arange(0, 65536, 16).astype("<u2").tobytes()}
    made = slice_of(grey() | 0x8000, VOILUTSequence=item(**entries))
    made.ModalityLUTSequence = item(**entries, ModalityLUTType="US")
    del made.RescaleSlope, made.RescaleIntercept
    for group, bits, position in ((0x6000, 1, 0), (0x6002, 16, 15)):
        for element, vr, value in ((0x10, "US", 24), (0x11, "US", 32), (0x40, "CS", "G"), (0x50, "SS", [1, 1]),
                                   (0x100, "US", bits), (0x102, "US", position)):  # fmt: skip
            made.add_new((group, element), vr, value)
    made.add_new((0x6000, 0x3000), "OW", bytes(range(96)))
    made.IconImageSequence = item(Rows=2, Columns=2, BitsAllocated=8, PixelData=bytes(4))
    return made


def palette(segmented: bool) -> Dataset:
    made = dataset_of(grey().astype(np.uint8))
    made.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        data = np.array([0, 2, 5, 9, 1, 100, 60000, 2, 2, 0, 0, 0, 100, 7], "<u2") if segmented else np.arange(256)
        name = f"{'Segmented' * segmented}{colour}PaletteColorLookupTableData"
        setattr(made, name, data.astype("<u2").tobytes())
    return made


def ultrasound() -> Dataset:
    made = dataset_of(np.random.default_rng(1).integers(0, 256, (5, 24, 32, 3)).astype(np.uint8))
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = uid.UltrasoundMultiFrameImageStorage
    made.Modality, made.FrameTimeVector, made.CineRate = "US", [0, 40, 40, 40, 40], 25
    made.SequenceOfUltrasoundRegions = item(RegionSpatialFormat=1, PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3,
                                            PhysicalDeltaX=0.02, PhysicalDeltaY=0.02)  # fmt: skip
    return made


def enhanced() -> Dataset:
    made = slice_of(np.stack([grey()] * 4))
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = uid.EnhancedCTImageStorage
    plane = item(ImageOrientationPatient=made.ImageOrientationPatient)
    made.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=plane, PixelMeasuresSequence=item(PixelSpacing=[0.7, 0.7], SliceThickness=2.5)
    )
    made.PerFrameFunctionalGroupsSequence = Sequence()
    for number in range(4):
        made.PerFrameFunctionalGroupsSequence += item(
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, 2.5 * number]),
            PixelValueTransformationSequence=item(RescaleSlope=1 + number, RescaleIntercept=-1024, RescaleType="HU"),
            FrameVOILUTSequence=item(WindowCenter=40, WindowWidth=400),
        )
    del made.ImagePositionPatient, made.ImageOrientationPatient, made.PixelSpacing
    return made


def report(depth: int = 12) -> Dataset:
    """A content tree of one branch."""
    made = document(uid.ComprehensiveSRStorage)
    tree = item(RelationshipType="CONTAINS", ValueType="TEXT", TextValue="Jane Citizen has it.")
    for _ in range(depth):
        tree = item(RelationshipType="CONTAINS", ValueType="CONTAINER", ContentSequence=tree)
    made.ValueType, made.Modality, made.ContentSequence = "CONTAINER", "SR", tree
    return made


def document(sop_class: str = uid.EncapsulatedPDFStorage) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = uid.UID(sop_class)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3.4.5.6"
    if sop_class == uid.EncapsulatedPDFStorage:
        made.MIMETypeOfEncapsulatedDocument, made.EncapsulatedDocument = "application/pdf", b"%PDF-1.4 Jane Citizen"
    return made


def fragments() -> Dataset:
    """Three frames of JPEG 2000, each in two fragments, with an offset table."""
    made = LOSSLESS["JPEG 2000"]()
    stream = next(generate_frames(made.PixelData, number_of_frames=1))
    made.PixelData, made.NumberOfFrames = encapsulate([stream] * 3, fragments_per_frame=2), 3
    return made


MADE: dict[str, Callable[[], Dataset]] = {
    "slice": lambda: slice_of(grey()),
    "signed": lambda: slice_of((grey().astype(np.int16) - 2048).astype(np.int16)),
    "tables": tables,
    "palette": lambda: palette(False),
    "segmented palette": lambda: palette(True),
    "ultrasound": ultrasound,
    "enhanced": enhanced,
    "report": report,
    "document": document,
    "fragments": fragments,
    **{f"coded: {name}": make for name, make in {**LOSSY, **LOSSLESS}.items() if "predictor" not in name},
}
SEEDS: dict[str, Callable[[], bytes]] = {
    **{name: (lambda name=name: Path(str(get_testdata_file(f"{name}.dcm"))).read_bytes()) for name in OURS},
    **{name: (lambda name=name: Path(str(get_testdata_file(name))).read_bytes()) for name in DIRECTORIES},
    **{name: (lambda make=make: written(make())) for name, make in MADE.items()},
    **{f"{name}, {how}": (lambda name=name, syntax=syntax: written(MADE[name](), syntax))
       for name in ("slice", "tables", "enhanced", "report") for how, syntax in NATIVE.items()},
}  # fmt: skip
