"""The stored values of a DICOM object, from every transfer syntax in use.

pydicom decodes. JPEG (with the 12-bit and lossless processes of radiology), JPEG-LS and JPEG 2000 go to libjpeg-turbo,
CharLS and OpenJPEG in imagecodecs, which leaves Python's lock while it works; it is a plugin of pydicom's, so that
``pixel_array`` has them too. No memory is taken before the size that a header claims has been held against the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, uid
from pydicom.encaps import generate_frames, get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner

from radkit.errors import DicomError

from ._file import reason_of

JPEG_2000 = [uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K]
SYNTAXES = [*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *JPEG_2000]
DECODER_DEPENDENCIES = dict.fromkeys(SYNTAXES, ("imagecodecs",))
is_available = DECODER_DEPENDENCIES.__contains__  # which pydicom asks of a plugin
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
# The most that is decoded at once, and the most that a codec is believed to have shrunk: 200 to 1 beyond 32 MiB.
CEILING, ALWAYS, RATIO = 4 << 30, 32 << 20, 200
MOST_PIXELS, MOST_SCANS = 50_000_000, 100  # of a frame: twice the largest mammogram; each scan may be as large


def decode(dataset: Dataset, *, frame: int | None = None, rgb: bool = False, all_bits: bool = False) -> np.ndarray:
    """Decode the stored values: (rows, columns), the frames before and the samples behind where there are several.

    ``frame`` is the one to decode, from 0, ``rgb`` turns YBR_FULL and YBR_FULL_422 into RGB (PS3.3 C.7.6.3.1.2), and
    ``all_bits`` keeps what lies above ``BitsStored``, such as an overlay. Whatever does not fit is a DicomError.
    """
    with refusing(dataset, "pixels cannot be decoded"):
        _check_size(dataset, frame)
        syntax = dataset.file_meta.TransferSyntaxUID
        options: dict = {"correct_unused_bits": False} if all_bits else {}
        plugin = "imagecodecs" if is_available(syntax) else ""
        options |= {"raw": not rgb, "allow_excess_frames": False, "decoding_plugin": plugin}
        values, _ = get_decoder(syntax).as_array(dataset, index=frame, **options)
        return values.astype(values.dtype.newbyteorder("="), copy=False)


@contextmanager
def refusing(dataset: Dataset | Mapping[str, Any], what: str) -> Iterator[None]:
    """Turn whatever malformed bytes lead to into a DicomError that names the file, without the values it quotes."""
    name = str(dataset.get("filename") or "")
    try:
        with np.errstate(all="ignore"):
            yield
    except DicomError as error:
        if name in str(error):
            raise
        raise DicomError(f"{name}: {error}") from error
    except Exception as error:
        raise DicomError(f"{name or 'This object'}: {what}: {reason_of(error)}") from error


def _check_size(dataset: Dataset, frame: int | None) -> None:
    """Refuse a size that the bytes cannot hold, before any decoder believes it."""
    data: Any = next((dataset[key].value for key in PIXELS if key in dataset), None)
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    missing = [key for key in NEEDED if key not in dataset] + ["PixelData"] * (not isinstance(data, bytes))
    if missing or not syntax:
        raise ValueError(f"missing: {', '.join(missing or ['TransferSyntaxUID'])}")
    size = rows, columns, samples, bits = [dataset[key].value for key in NEEDED]
    frames = int(dataset.get("NumberOfFrames") or 1)
    if not all(isinstance(n, int) and n > 0 for n in (*size, frames)) or not 0 <= (frame or 0) < frames:
        raise ValueError(f"{', '.join(NEEDED)} are {size}, and frame {frame} was asked of {frames}")
    if rows * columns > MOST_PIXELS:
        raise ValueError(f"{rows} × {columns} pixels are too many for a frame; radkit reads up to {MOST_PIXELS}")
    wanted = rows * columns * samples * max(bits, 8) // 8 * (frames if frame is None else 1)  # a bit becomes a byte
    if wanted > (limit := min(max(ALWAYS, RATIO * len(data)), CEILING)):
        raise ValueError(f"the header claims {wanted} bytes; {len(data)} bytes of pixel data may unfold to {limit}")
    if syntax.is_encapsulated and syntax != uid.RLELossless:
        table = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
        known: dict = {"number_of_frames": frames, "extended_offsets": table if all(table) else None}
        for stream in generate_frames(data, **known) if frame is None else [get_frame(data, frame, **known)]:
            if (found := _size_in(stream)) != (rows, columns, samples):
                raise ValueError(f"expected rows, columns, samples of {rows, columns, samples}, coded are {found}")
            if (scans := stream.count(b"\xff\xda")) > MOST_SCANS:
                raise ValueError(f"a frame is coded in {scans} scans")


def _size_in(stream: bytes) -> tuple[int, ...] | None:
    """Return rows, columns and samples as a JPEG (SOF marker) or JPEG 2000 (SIZ marker) codestream has them."""
    if stream[:2] != b"\xff\xd8":
        at = stream.index(b"\xff\x4f\xff\x51")
        right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
        return bottom - top, right - left, *struct.unpack_from(">H", stream, at + 40)
    at = 2
    while at + 10 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, at)
        if marker == 0xFFF7 or (0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC)):
            return struct.unpack_from(">HHB", stream, at + 5)
        at += 1 if marker == 0xFFFF else 2 + length  # a marker may be filled up with FF
    return None


def jpeg_frame(stream: bytes, runner: DecodeRunner) -> bytes:
    """Decode a frame to its samples as coded; ``PhotometricInterpretation`` says what they mean."""
    if runner.transfer_syntax in uid.JPEGLSTransferSyntaxes:
        # CharLS counts zero bits behind the end of a cut stream for seconds; at a marker it stops.
        values = imagecodecs.jpegls_decode(stream + b"\xff\xd9")
    elif runner.transfer_syntax in JPEG_2000:
        values = imagecodecs.jpeg2k_decode(stream)
    else:
        space = "RGB" if runner.samples_per_pixel == 3 else None  # the same in and out: no transform
        values = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    runner.set_option("bits_allocated", values.itemsize * 8)
    runner.set_option("planar_configuration", 0)
    return values.tobytes()


for _syntax in SYNTAXES:
    if "imagecodecs" not in get_decoder(_syntax).available_plugins:
        get_decoder(_syntax).add_plugin("imagecodecs", (__name__, "jpeg_frame"))
