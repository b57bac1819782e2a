"""Stored values: every transfer syntax, written here and read back, and sizes that lie."""

import zlib

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_encoder

from radkit.dicom.decoding import decode
from radkit.errors import DicomError

GRADIENT = np.add.outer(np.arange(40) ** 2, np.arange(56) * 30).astype(np.uint16)  # of 12 bits
SIGNED = (GRADIENT.astype(np.int16) - 1500).astype(np.int16)


def dataset_of(
    array: np.ndarray, syntax: str = uid.ExplicitVRLittleEndian, *, bits: int = 0, data: bytes = b""
) -> Dataset:
    """Return an image of grey values, or of RGB where the last axis is 3."""
    dataset = FileDataset("made.dcm", {}, file_meta=FileMetaDataset())
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid.generate_uid()
    colour = array.shape[-1] == 3
    dataset.Rows, dataset.Columns = array.shape[-3:-1] if colour else array.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        dataset.PlanarConfiguration = 0
    if array.ndim == 3 + colour:
        dataset.NumberOfFrames = len(array)
    dataset.BitsAllocated = 8 * array.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    dataset.PixelData = data or array.tobytes()
    dataset["PixelData"].VR = "OB" if data or array.itemsize == 1 else "OW"
    return dataset


def coded(array: np.ndarray, syntax: uid.UID, stream: bytes = b"", **options) -> Dataset:
    """Return the same, compressed: by pydicom's encoders, or as the stream given."""
    dataset = dataset_of(array, bits=options.pop("bits", 0))
    if not stream:
        plain = {"rows": dataset.Rows, "columns": dataset.Columns, "samples_per_pixel": dataset.SamplesPerPixel}
        plain |= {"bits_allocated": dataset.BitsAllocated, "bits_stored": dataset.BitsStored, "number_of_frames": 1}
        plain |= {"pixel_representation": dataset.PixelRepresentation, "pixel_keyword": "PixelData"}
        plain |= {"photometric_interpretation": "MONOCHROME2", "planar_configuration": 0}
        stream = get_encoder(syntax).encode(array, **plain, **options)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR, dataset.file_meta.TransferSyntaxUID = "OB", syntax
    return dataset


def jpeg(array: np.ndarray, **options) -> bytes:
    return imagecodecs.jpeg8_encode(array, **options)


def htj2k(array: np.ndarray, **options) -> bytes:
    return imagecodecs.htj2k_encode(array, **options)


EIGHT, TWELVE = (GRADIENT >> 4).astype(np.uint8), {"bitspersample": 12}
LOSSLESS = {
    "RLE": lambda: coded(GRADIENT, uid.RLELossless),
    "RLE, signed": lambda: coded(SIGNED, uid.RLELossless),
    **{
        f"JPEG lossless, process 14, predictor {n}": lambda n=n: coded(
            GRADIENT, uid.JPEGLossless, jpeg(GRADIENT, lossless=True, predictor=n, **TWELVE), bits=12
        )
        for n in range(1, 8)
    },
    "JPEG lossless SV1": lambda: coded(EIGHT, uid.JPEGLosslessSV1, jpeg(EIGHT, lossless=True, predictor=1)),
    "JPEG lossless SV1, signed": lambda: coded(
        SIGNED, uid.JPEGLosslessSV1, jpeg(SIGNED.view(np.uint16), lossless=True, predictor=1, bitspersample=16)
    ),
    "JPEG-LS": lambda: coded(GRADIENT, uid.JPEGLSLossless, bits=12),
    "JPEG-LS, signed": lambda: coded(SIGNED, uid.JPEGLSLossless, imagecodecs.jpegls_encode(SIGNED.view(np.uint16))),
    "JPEG 2000": lambda: coded(GRADIENT, uid.JPEG2000Lossless, bits=12),
    "JPEG 2000, signed": lambda: coded(SIGNED, uid.JPEG2000Lossless),
    "HTJ2K": lambda: coded(GRADIENT, uid.HTJ2KLossless, htj2k(GRADIENT, reversible=True)),
    "HTJ2K RPCL": lambda: coded(GRADIENT, uid.HTJ2KLosslessRPCL, htj2k(GRADIENT, reversible=True, tlm=True)),
}
LOSSY = {
    "JPEG baseline": lambda: coded(EIGHT, uid.JPEGBaseline8Bit, jpeg(EIGHT, level=95)),
    "JPEG extended, 12 bits": lambda: coded(
        GRADIENT, uid.JPEGExtended12Bit, jpeg(GRADIENT, level=95, **TWELVE), bits=12
    ),
    "JPEG extended, 8 bits": lambda: coded(EIGHT, uid.JPEGExtended12Bit, jpeg(EIGHT, level=95)),
    "JPEG-LS near": lambda: coded(GRADIENT, uid.JPEGLSNearLossless, jls_error=2, bits=12),
    "JPEG 2000": lambda: coded(GRADIENT, uid.JPEG2000, j2k_cr=[4], bits=12),
    "HTJ2K": lambda: coded(GRADIENT, uid.HTJ2K, htj2k(GRADIENT, level=0.0001, reversible=False)),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_what_is_coded_without_loss_comes_back_as_it_was(name):
    dataset = LOSSLESS[name]()
    original = SIGNED if "signed" in name else EIGHT if dataset.BitsAllocated == 8 else GRADIENT
    assert decode(dataset).dtype == original.dtype and np.array_equal(decode(dataset), original)
    assert np.array_equal(dataset.pixel_array, original)  # the plugin is pydicom's too


@pytest.mark.parametrize("name", LOSSY)
def test_what_is_coded_with_loss_comes_back_nearly(name):
    dataset = LOSSY[name]()
    original = EIGHT if dataset.BitsAllocated == 8 else GRADIENT
    error = np.abs(decode(dataset).astype(int) - original)
    assert error.max() <= (2 if "JPEG-LS" in name else original.max() / 100)


@pytest.mark.parametrize("interleave", [0, 1, 2])
def test_jpeg_ls_in_colour_whichever_way_its_samples_lie(interleave):
    import jpeg_ls

    colours = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    planes = np.ascontiguousarray(colours.transpose(2, 0, 1)) if interleave == 0 else colours
    stream = bytes(jpeg_ls.encode_array(planes, interleave_mode=interleave))
    assert np.array_equal(decode(coded(colours, uid.JPEGLSLossless, stream)), colours)


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian]
)
def test_uncompressed_values_are_in_native_byte_order(tmp_path, syntax):
    big = syntax == uid.ExplicitVRBigEndian
    dataset = dataset_of(GRADIENT.byteswap() if big else GRADIENT, syntax)
    dataset.set_original_encoding(syntax == uid.ImplicitVRLittleEndian, not big)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    values = decode(dcmread(tmp_path / "a.dcm"))
    assert values.dtype == np.uint16 and np.array_equal(values, GRADIENT)


def test_one_frame_of_many_and_what_lies_above_the_stored_bits():
    frames = np.stack([GRADIENT, GRADIENT[::-1]]) | 0xF000
    dataset = dataset_of(frames, bits=12)
    assert np.array_equal(decode(dataset), frames & 0xFFF)
    assert np.array_equal(decode(dataset, frame=1), GRADIENT[::-1])
    assert np.array_equal(decode(dataset, all_bits=True), frames)
    with pytest.raises(DicomError, match="frame 2 was asked of 2"):
        decode(dataset, frame=2)


@pytest.mark.parametrize("name", ["native", *LOSSLESS])
def test_a_size_that_the_bytes_cannot_hold_is_refused_before_memory_is_taken(name):
    for rows, columns, frames in (
        (65535, 65535, 1),
        (65535, 65535, 2**31 - 1),
        (40, 56, 10**6),
        (41, 56, 1),
        (0, 56, 1),
    ):
        dataset = dataset_of(GRADIENT) if name == "native" else LOSSLESS[name]()
        dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
        with pytest.raises(DicomError, match=r"made\.dcm: pixels cannot be decoded"):
            decode(dataset)


@pytest.mark.parametrize("name", [name for name in LOSSLESS if "RLE" not in name])
def test_a_codestream_that_is_larger_than_its_header_says_is_refused(name):
    dataset = LOSSLESS[name]()
    stream = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    at = stream.find(b"\x00\x28\x00\x38")  # 40 rows, 56 columns: JPEG
    at, size = (at, 2) if at >= 0 else (stream.find(b"\x00\x00\x00\x38"), 4)  # JPEG 2000: columns first
    stream[at : at + size] = b"\xff" * size if size == 2 else b"\x00\x0f\xff\xff"
    dataset.PixelData = encapsulate([bytes(stream)])
    with pytest.raises(DicomError, match=r"expected rows, columns, samples of \(40, 56, 1\), coded are \("):
        decode(dataset)


@pytest.mark.parametrize("name", LOSSLESS)
def test_cut_and_damaged_streams_end_with_an_error_or_with_an_image(name):
    dataset = LOSSLESS[name]()
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    chance = np.random.default_rng(zlib.crc32(name.encode()))
    outcomes = set()
    for _ in range(40):
        damaged = bytearray(stream[: chance.integers(2, len(stream))] if chance.random() < 0.5 else stream)
        for at in chance.integers(0, len(damaged), 3):
            damaged[at] = chance.integers(0, 256)
        dataset.PixelData = encapsulate([bytes(damaged)])
        try:
            outcomes.add(decode(dataset).shape)
        except DicomError as error:
            outcomes.add("refused" if "made.dcm" in str(error) else str(error))
    assert outcomes <= {GRADIENT.shape, "refused"} and "refused" in outcomes


@pytest.mark.parametrize("missing", ["Rows", "SamplesPerPixel", "PixelData", "TransferSyntaxUID"])
def test_what_is_missing_is_named(missing):
    dataset = dataset_of(GRADIENT)
    del (dataset.file_meta if missing == "TransferSyntaxUID" else dataset)[missing]
    with pytest.raises(DicomError, match=f"missing: {missing}"):
        decode(dataset)


def test_an_error_does_not_quote_the_header():
    dataset = dataset_of(GRADIENT)
    dataset._dict[dataset["Rows"].tag] = type(dataset["Rows"])("Rows", "LO", "DOE^JANE")
    with pytest.raises(DicomError) as caught:
        decode(dataset)
    assert "DOE" not in str(caught.value)
