"""From a CT to its nodules: the bundle's own steps, then what lies inside the lungs, numbered by size."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage

from radkit._optional import optional
from radkit.errors import ModelError
from radkit_phantoms.lung_mask import lungs

from .bundle import Bundle, load_bundle
from .devices import memory_watched
from .recipes import explained

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from .training import Training

SMALLEST_MM3 = 65.0  # a sphere of 5 mm: the smallest nodule that the network was taught
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's LPS to the RAS of NIfTI and MONAI, and back


def find_nodules(volume: Volume, bundle: Bundle | None = None, *, progress: bool = True) -> Volume:
    """Segment the nodules of a chest CT.

    The steps are those that the bundle's ``inference.json`` describes (resample to 1.5 mm, scale, slide a window over
    the image, resample back, threshold); then `keep_inside_lungs`.

    Parameters
    ----------
    volume : highdicom.Volume
        Chest CT in HU; array (slice, row, column), LPS mm.
    bundle, progress : Bundle, bool
        The model, without it the lung nodule bundle that comes with radkit; whether to show a bar over the windows.

    Returns
    -------
    highdicom.Volume
        uint16 on the CT's own grid: 0 is background, 1 the largest nodule, 2 the next.

    Raises
    ------
    ModelError
        If the volume is no CT in HU that holds lungs.
    """
    (volume,) = _in_order(volume, ("ct",))
    inside = find_lungs(volume)
    return keep_inside_lungs(predict(volume, bundle or load_bundle(), progress=progress), volume, inside=inside)


def find_lungs(volume: Volume) -> Volume:
    """The lungs of a chest CT; a ModelError if there are none."""
    inside = lungs(volume)
    if not inside.array.any():
        low, high = int(volume.array.min()), int(volume.array.max())
        raise ModelError(
            f"Expected a chest CT in HU with air-filled lungs; found none in this one, with values {low} to {high}. "
            "Check that the series is a chest CT and that its rescale slope and intercept were applied."
        )
    return inside


def predict(
    images: Volume | Mapping[str, Volume],
    bundle: Bundle | Training,
    *,
    probability: bool = False,
    progress: bool = True,
) -> Volume:
    """Look at images with a network, by the steps that its bundle or its training describes.

    Parameters
    ----------
    images : highdicom.Volume or dict of str to highdicom.Volume
        The image that the network was made for, or one for each of its ``channels`` by name, all on one grid.
    bundle : Bundle or Training
        The network.
    probability, progress : bool
        Whether to leave out the threshold at its end; whether to show a bar over the windows.

    Returns
    -------
    highdicom.Volume
        On the grid of the images: uint8, 1 where the network sees what it looks for; or float32, 0 to 1.

    Raises
    ------
    ModelError
        If an image is missing, on another grid than the others, or holds NaN.
    """
    torch = optional("torch")
    if not hasattr(bundle, "channels") or not hasattr(bundle, "steps"):
        raise ModelError(
            f"Expected a Bundle or a Training to predict with, got a {type(bundle).__name__}. Open a bundle first: "
            "rk.model.load_bundle(name)."
        )
    volumes = _in_order(images, bundle.channels)
    before, inferer, after = bundle.steps()  # type: Any, Any, Any
    inferer.progress = progress
    if probability:
        after.transforms = [step for step in after.transforms if type(step).__name__ != "AsDiscreted"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = bundle.network(device) if isinstance(bundle, Bundle) else bundle.network.to(device)
    tried = f"an image of {volumes[0].spatial_shape} voxels"
    full = memory_watched(device, tried, "Close what else holds it, or start Python with CUDA_VISIBLE_DEVICES=''.")
    wrong = explained(f"No prediction for {tried}", "Is it one that the network was made for?")
    # MONAI's bar goes to stderr, which a notebook shows in red: no learner should take it for an error.
    with full, wrong, torch.inference_mode(), redirect_stderr(sys.stdout):
        sample = before({"image": to_tensor(*volumes)})
        sample["pred"] = inferer(sample["image"][None].to(device), network)[0].cpu()
        found = after(sample)["pred"]
    array = found[0].numpy().transpose(2, 1, 0)
    return volumes[0].with_array(array.astype(np.float32 if probability else np.uint8))


def _in_order(images: Volume | Mapping[str, Volume], channels: Sequence[str]) -> list[Volume]:
    """The images as the network's channels want them, each one whole and all on one grid."""
    given = dict(images) if isinstance(images, Mapping) else {"one image": images}
    if wrong := [type(one).__name__ for one in given.values() if not isinstance(one, Volume) or one.array.ndim != 3]:
        raise ModelError(
            f"Expected a highdicom.Volume (slice, row, column), or a dict of them by name; got {wrong[0]}"
            f"{' with channels' * (wrong[0] == 'Volume')}. Read one with rk.dicom.read_series, or make it of an array: "
            "highdicom.Volume(array, affine, coordinate_system='PATIENT')."
        )
    if len(channels) == len(given) == 1:  # whatever it is called
        given = dict.fromkeys(channels, *given.values())
    if not set(channels) <= set(given):
        raise ModelError(
            f"The network looks at {', '.join(channels)}; it was given {', '.join(map(str, given)) or 'none'}. "
            "Give a dict with each of them."
        )
    volumes = {name: given[name] for name in channels}
    check_voxels(volumes)
    return [*volumes.values()]


def check_voxels(volumes: Mapping[str, Volume], whose: str = "") -> None:
    """Raise a ModelError where one is not on the grid of the first, or holds a voxel that is no number as float32."""
    grid, first = next(iter(volumes.items()))
    for name, volume in volumes.items():
        if not same_grid(volume, first):
            raise ModelError(
                f"{whose}{name} is on another grid than {grid}: {volume.spatial_shape} voxels of {in_mm(volume)} "
                f"against {first.spatial_shape} of {in_mm(first)}, or shifted or turned. Resample it."
            )
        if volume.array.dtype.kind == "f" and (bad := (~(np.abs(volume.array) < np.finfo(np.float32).max)).sum()):
            remedy = "Set them to what air or background is, in a mask to lesion or none."
            raise ModelError(f"{whose}{bad} voxels of {name} are NaN or infinite. {remedy}")


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two volumes have the same voxels in the same places, to a thousandth of a millimetre."""
    return one.spatial_shape == other.spatial_shape and bool(np.allclose(one.affine, other.affine, atol=1e-3))


def in_mm(volume: Volume) -> str:
    """The size of a voxel, in words."""
    return " x ".join(f"{side:g}" for side in volume.spacing) + " mm"


def keep_inside_lungs(mask: Volume, volume: Volume, *, inside: Volume | None = None) -> Volume:
    """Number the connected parts of a mask that lie mainly inside the lungs, the largest first.

    Parameters
    ----------
    mask : highdicom.Volume
        Not 0 where the network saw nodule; on the grid of ``volume``.
    volume, inside : highdicom.Volume
        The CT in HU that the lungs are looked for in, and the lungs where they are known already.

    Returns
    -------
    highdicom.Volume
        uint16 labels 1..n by decreasing volume. Parts under 65 mm³ (a sphere of 5 mm) are left out.
    """
    if not same_grid(mask, volume):
        raise ModelError(
            f"The mask is on another grid than the CT: {mask.spatial_shape} voxels against {volume.spatial_shape}, or "
            "shifted or turned. Resample it."
        )
    marked = np.ascontiguousarray(mask.array > 0)  # of a network it comes with its axes reversed in memory
    box = (ndimage.find_objects(marked.view(np.uint8)) or [(slice(0, 1),) * 3])[0]  # there is nothing outside of it
    parts, count = ndimage.label(marked[box], np.ones((3, 3, 3)))
    places = np.nonzero(parts)
    numbers = parts[places]
    sizes = np.bincount(numbers, minlength=count + 1)
    within = np.bincount(numbers, (inside or lungs(volume)).array[box][places], minlength=count + 1)
    kept = np.flatnonzero((within > 0.5 * sizes) & (sizes * np.prod(volume.spacing) >= SMALLEST_MM3))
    order = kept[np.argsort(-sizes[kept], kind="stable")]
    renumber = np.zeros(count + 1, np.uint16)
    renumber[order] = np.arange(1, len(order) + 1)
    found = np.zeros(mask.spatial_shape, np.uint16)
    found[box][places] = renumber[numbers]
    return volume.with_array(found)


def to_tensor(*volumes: Volume) -> MetaTensor:
    """What MONAI's readers give of one file or of several: float32, axes (column, row, slice), affine to RAS mm."""
    array: NDArray[Any] = np.stack([volume.array.transpose(2, 1, 0) for volume in volumes]).astype(np.float32)
    affine = TO_RAS @ volumes[0].affine[:, [2, 1, 0, 3]]
    meta = {"original_channel_dim": 0 if len(volumes) > 1 else "no_channel"}
    return optional("monai.data").MetaTensor(array if len(volumes) > 1 else array[0], affine=affine, meta=meta)
