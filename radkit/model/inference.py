"""From a CT to its nodules: the bundle's own steps, then what lies inside the lungs, numbered by size."""

from __future__ import annotations

import sys
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

if TYPE_CHECKING:
    from monai.data import MetaTensor

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
    bundle : Bundle, optional
        The model; the lung nodule bundle that comes with radkit.
    progress : bool
        Show a bar over the windows.

    Returns
    -------
    highdicom.Volume
        uint16 on the CT's own grid: 0 is background, 1 the largest nodule, 2 the next.

    Raises
    ------
    ModelError
        If the volume is no CT in HU that holds lungs.
    """
    inside = lungs(volume)
    if not inside.array.any():
        low, high = int(volume.array.min()), int(volume.array.max())
        raise ModelError(
            f"Expected a chest CT in HU with air-filled lungs; found none in this one, with values {low} to {high}. "
            "Check that the series is a chest CT and that its rescale slope and intercept were applied."
        )
    return keep_inside_lungs(predict(volume, bundle or load_bundle(), progress=progress), volume, inside=inside)


def predict(volume: Volume, bundle: Bundle, *, progress: bool = True) -> Volume:
    """Run the bundle as its ``inference.json`` says; uint8, 1 where it sees nodule, inside the lungs or not."""
    torch = optional("torch")
    before, inferer, after = bundle.steps()
    inferer.progress = progress
    network = bundle.network(device := "cuda" if torch.cuda.is_available() else "cpu")
    # MONAI's bar goes to stderr, which a notebook shows in red: no learner should take it for an error.
    with torch.inference_mode(), redirect_stderr(sys.stdout):
        sample = before({"image": to_tensor(volume)})
        sample["pred"] = inferer(sample["image"][None].to(device), network)[0].cpu()
        found = after(sample)["pred"]
    return volume.with_array(found[0].numpy().transpose(2, 1, 0).astype(np.uint8))


def keep_inside_lungs(mask: Volume, volume: Volume, *, inside: Volume | None = None) -> Volume:
    """Number the connected parts of a mask that lie mainly inside the lungs, the largest first.

    Parameters
    ----------
    mask : highdicom.Volume
        Not 0 where the network saw nodule; on the grid of ``volume``.
    volume : highdicom.Volume
        The CT in HU that the lungs are looked for in.
    inside : highdicom.Volume, optional
        The lungs, where they are known already.

    Returns
    -------
    highdicom.Volume
        uint16 labels 1..n by decreasing volume. Parts under 65 mm³ (a sphere of 5 mm) are left out.
    """
    parts, count = ndimage.label(mask.array > 0, np.ones((3, 3, 3)))
    places = np.flatnonzero(parts)
    numbers = parts.ravel()[places]
    sizes = np.bincount(numbers, minlength=count + 1)
    within = np.bincount(numbers, (inside or lungs(volume)).array.ravel()[places], minlength=count + 1)
    kept = np.flatnonzero((within > 0.5 * sizes) & (sizes * np.prod(volume.spacing) >= SMALLEST_MM3))
    order = kept[np.argsort(-sizes[kept], kind="stable")]
    renumber = np.zeros(count + 1, np.uint16)
    renumber[order] = np.arange(1, len(order) + 1)
    found = np.zeros(parts.shape, np.uint16)
    found.ravel()[places] = renumber[numbers]
    return volume.with_array(found)


def to_tensor(volume: Volume) -> MetaTensor:
    """Turn a volume into what MONAI's readers give: float32, axes (column, row, slice), affine to RAS mm."""
    array: NDArray[Any] = np.ascontiguousarray(volume.array.transpose(2, 1, 0), np.float32)
    affine = TO_RAS @ volume.affine[:, [2, 1, 0, 3]]
    return optional("monai.data").MetaTensor(array, affine=affine, meta={"original_channel_dim": "no_channel"})
