"""The stored pixel values of a DICOM object, from every transfer syntax in use.

pydicom does the decoding. Two things stand around it here. The JPEG processes of radiology that its free decoders leave
out (12 bit, lossless) go to libjpeg-turbo in imagecodecs, as a plugin of pydicom, so that ``pixel_array`` has them too.
And no memory is taken before the size that a header claims has been held against the bytes that there are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import imagecodecs
import numpy as np
from pydicom import Dataset, uid
from pydicom.encaps import generate_frames, get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner

from radkit.errors import DicomError

DECODER_DEPENDENCIES = dict.fromkeys([*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes], ("imagecodecs",))
NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# The most that is decoded at once, and the most that a codec is believed to have shrunk: 200 to 1 beyond 64 MiB.
CEILING, ALWAYS, RATIO = 4 << 30, 64 << 20, 200


def decode(dataset: Dataset, *, frame: int | None = None, rgb: bool = False) -> np.ndarray:
    """Decode the stored values of an image.

    Parameters
    ----------
    dataset
        With its pixels and its file meta information.
    frame
        The one frame to decode, from 0; all of them if not given.
    rgb
        Turn YBR_FULL and YBR_FULL_422 into RGB (PS3.3 C.7.6.3.1.2).

    Returns
    -------
    ndarray
        (rows, columns), with the frames before and the samples behind where there is more than one; native byte order,
        ``BitsStored`` bits of each value (what lies in the bits above, such as an overlay, is cut off).

    Raises
    ------
    DicomError
        If the transfer syntax is unknown, an attribute is missing, or the sizes and the bytes do not agree.
    """
    with refusing(dataset, "pixels cannot be decoded"):
        syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
        if missing := [key for key in NEEDED if key not in dataset] + ["TransferSyntaxUID"] * (not syntax):
            raise ValueError(f"{', '.join(missing)} missing")
        _check_size(dataset, syntax, frame)
        plugin = "imagecodecs" if syntax in DECODER_DEPENDENCIES else ""
        options: dict = {"raw": not rgb, "decoding_plugin": plugin, "allow_excess_frames": False}
        values, _ = get_decoder(syntax).as_array(dataset, index=frame, **options)
        return values.astype(values.dtype.newbyteorder("="), copy=False)


@contextmanager
def refusing(dataset: Dataset, what: str) -> Iterator[None]:
    """Turn whatever pydicom or a codec makes of malformed bytes into a DicomError, without the values it quotes."""
    try:
        yield
    except Exception as error:
        reason = re.sub(r"'[^']*'|\"[^\"]*\"", "…", str(error)) or type(error).__name__
        raise DicomError(f"{dataset.get('filename') or 'This object'}: {what}: {reason}") from error


def _check_size(dataset: Dataset, syntax: uid.UID, frame: int | None) -> None:
    """Refuse a size that the bytes cannot hold, before any decoder believes it."""
    size = [dataset[keyword].value for keyword in NEEDED]
    frames = int(dataset.get("NumberOfFrames") or 1)
    if not all(isinstance(n, int) and n > 0 for n in (*size, frames)):
        raise ValueError(f"expected Rows, Columns, SamplesPerPixel and BitsAllocated above 0, found {size}")
    if frame is not None and not 0 <= frame < frames:
        raise ValueError(f"expected a frame from 0 to {frames - 1}, not {frame}")
    rows, columns, samples, bits = size
    wanted = rows * columns * samples * bits // 8 * (frames if frame is None else 1)
    data = next((dataset[key].value for key in PIXELS if key in dataset), None)
    if not isinstance(data, bytes):
        raise ValueError("there is no PixelData")
    limit = min(max(ALWAYS, RATIO * len(data)), CEILING)
    if wanted > limit:
        raise ValueError(f"{frames} × {rows} × {columns} × {samples} values of {bits} bits are {wanted} bytes, and "
                         f"{len(data)} bytes of pixel data may unfold to {limit}; ask for one frame")  # fmt: skip
    if syntax.is_encapsulated and syntax != uid.RLELossless:
        table = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
        known: dict = {"number_of_frames": frames, "extended_offsets": table if all(table) else None}
        for stream in generate_frames(data, **known) if frame is None else [get_frame(data, frame, **known)]:
            if (found := _size_in(stream)) != (rows, columns, samples):
                raise ValueError(f"expected rows, columns, samples of {rows, columns, samples}, coded are {found}")


def _size_in(stream: bytes) -> tuple[int, ...] | None:
    """Return rows, columns and samples as a JPEG (SOF marker) or JPEG 2000 (SIZ marker) codestream has them."""
    if (at := stream.find(b"\xff\x4f\xff\x51")) >= 0 and len(stream) > at + 42:
        right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
        return bottom - top, right - left, struct.unpack_from(">H", stream, at + 40)[0]
    at = 2
    while at + 10 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, at)
        if marker == 0xFFF7 or (0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC)):
            return struct.unpack_from(">HHB", stream, at + 5)
        at += 1 if marker == 0xFFFF else 2 + length  # a marker may be filled up with FF
    return None


def is_available(syntax: str) -> bool:
    """Tell pydicom whether this plugin decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def jpeg_frame(stream: bytes, runner: DecodeRunner) -> bytes:
    """Decode one JPEG frame: baseline, extended with 8 or 12 bits, lossless with any predictor.

    The samples come as they were coded: which colours they are is ``PhotometricInterpretation``'s to say.
    """
    if runner.transfer_syntax in uid.JPEGLSTransferSyntaxes:
        # CharLS counts zero bits behind the end of a cut stream for seconds; at a marker it stops.
        values = imagecodecs.jpegls_decode(stream + b"\xff\xd9")
    else:
        space = "RGB" if runner.samples_per_pixel == 3 else None  # the same in and out: no transform
        values = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    runner.set_option("bits_allocated", values.itemsize * 8)
    runner.set_option("planar_configuration", 0)
    return values.tobytes()


for _syntax in DECODER_DEPENDENCIES:
    if "imagecodecs" not in (_decoder := get_decoder(_syntax)).available_plugins:
        _decoder.add_plugin("imagecodecs", (__name__, "jpeg_frame"))
