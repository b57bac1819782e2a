"""What `show` and `still` are given, made into a scene: a volume, an image, or files that are first to be read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DicomError, ViewError
from .contours import checked
from .scene import Names, Plane, Scene, Window, labels_of, names_of, opposite, volume_scene, window_of

if TYPE_CHECKING:
    from highdicom import Volume
    from pydicom import Dataset

    from ..dicom.image import Image

UNITS = {"HU": "HU", "BQML": "Bq/ml", "GML": "g/ml", "CNTS": "counts"}  # Units of PS3.3 C.8.9.1.1.3, as they are read
SCALES = {"patient": "", "detector": "at the detector", "": "of unknown calibration"}  # PS3.3 10.7.1.3


def scene_of(
    given: Any,
    mask: Volume | np.ndarray | None = None,
    *,
    names: Names = None,
    preset: str | None = None,
    window: Window | None = None,
    at: Sequence[float] | None = None,
    modality: str | None = None,
    contours: Any = (),
    **drawn: Any,
) -> Scene:
    """Return the scene of what `show` was given; ``drawn`` is what needs no check: title, zoom, opacity."""
    header = None
    if isinstance(given, np.ndarray):
        raise ViewError("An array does not say where it lies in the patient; volume.with_array(array) does.")
    if not hasattr(given, "array"):
        given, header = _read(getattr(given, "files", given))
    if hasattr(given, "shown"):
        scene, header = _image_scene(given, mask, names, at), given.header
    else:
        modality = modality or _text(header, "Modality") or "CT"
        scene = volume_scene(given, mask, names=names, at=at, modality=modality)
        drawn |= {"unit": scene.unit or UNITS.get(_text(header, "Units"), ""), "volume": given}
    drawn |= {"window": window_of(scene.presets, preset, window), "contours": checked(contours, scene)}
    return replace(scene, banner=_banner(header), **drawn)


def _read(source: Any) -> tuple[Volume | Image, Dataset]:
    """Read several files, or one of many frames that lie in the patient, as a volume, and all else as an image."""
    from .. import dicom

    source = [source] if hasattr(source, "save_as") else source  # one dataset is a list of its elements, too
    headers = [h for h in dicom.read_headers(source) if "Rows" in h]
    if len(headers) != 1:
        volume = dicom.read_series(source)
        return volume, next((h for h in headers if "ImagePositionPatient" in h), headers[0])
    (header,) = headers
    if "SharedFunctionalGroupsSequence" in header and _text(header, "NumberOfFrames") not in ("", "0", "1"):
        try:
            return dicom.read_series(source), header
        except DicomError:
            pass  # frames without a place in the patient, as in a cine
    return dicom.read_image(header if "PixelData" in header else header.filename), header


def _banner(header: Dataset | None) -> tuple[str, ...]:
    """Return name, ID, study date and series description as the header has them; nothing is made up."""
    name = _text(header, "PatientName").split("=")[0].replace("^", " ").strip()
    number, date = _text(header, "PatientID"), _text(header, "StudyDate")
    date = f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else date
    return tuple(filter(None, (name, number and f"ID {number}", date, _text(header, "SeriesDescription"))))


def _text(header: Dataset | None, keyword: str) -> str:
    try:  # pydicom reads a value when it is asked for; then it may warn, or choke in many ways
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "" if header is None else str(header.get(keyword) or "")[:64].strip()
    except Exception:
        return ""


def _image_scene(image: Image, mask: Volume | np.ndarray | None, names: Names, at: Sequence[float] | None) -> Scene:
    """Return an image, gray or RGB, with one or many frames, as a scene of one plane."""
    array = image.array if image.array.ndim == 3 + image.colour else image.array[None]
    shape = array.shape[:3]
    labels, known, padding = _labels(image, labels_of(mask, shape), shape, names)
    voxel = tuple(int(i) for i in at) if at is not None else (0, shape[1] // 2, shape[2] // 2)
    if len(voxel) != 3 or not all(0 <= i < n for i, n in zip(voxel, shape, strict=True)):
        raise ViewError(f"{voxel} lies outside of the image: it has {shape} frames, rows and columns.")
    right, bottom = image.directions or ("", "")
    plane = Plane("image", (2, 1), (1, 1), (0, 1), (opposite(right), right, opposite(bottom), bottom))
    spacing = (0.0, *(image.spacing or (image.aspect, 1.0)))
    scene = Scene(array, np.eye(4), labels, known, voxel, image.windows, (plane,), spacing, unit=image.unit)
    scale = SCALES[image.spacing_of] if image.spacing else "not calibrated"
    frame_ms = image.frame_time_ms or 100.0
    scene = replace(scene, scale=scale, inverted=image.inverted, padding=padding, frame_ms=frame_ms)
    return scene if image.colour else _curved(scene, image)


def _labels(image: Image, labels: Any, shape: tuple[int, ...], names: Names) -> tuple[Any, dict[int, str], int]:
    """Return the labels of mask, overlays and padding in one array, all names but padding's, and padding's label."""
    known, padding = names_of(labels, names), 0
    graphics = {**image.overlays, "": image.padding}
    shown = {name: where for name, where in graphics.items() if where is not None and where.any()}
    if shown:
        labels = np.zeros(shape, np.uint16) if labels is None else labels.astype(np.uint16)
    for name, where in shown.items():
        label = max(known, default=0) + 1
        labels[np.broadcast_to(where, shape)] = label
        known, padding = ({**known, label: name}, 0) if name else (known, label)
    return labels, known, padding


def _curved(scene: Scene, image: Image) -> Scene:
    """Give a scene the object's own VOI LUT or function: the grays along its window, from two widths below it on."""
    center, width = next(iter(image.windows.values()))
    values = np.linspace(center - 2 * width, center + 2 * width, 2048, dtype=np.float32)
    grays = replace(image, array=values[None], padding=None, overlays={}).shown()[0]
    return replace(scene, levels=tuple((255 - grays if image.inverted else grays).tolist()), reach=(-2.0, 2.0))
