"""Studies made ready for training, once and in memory: on two cores, workers that load in the background lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from scipy import ndimage

from radkit._optional import optional
from radkit.errors import ModelError

from .inference import check_voxels, in_mm, to_tensor
from .recipes import Recipe, build, explained

if TYPE_CHECKING:
    from torch import Tensor

    from radkit.data.study import Study

MOST = 2**28  # voxels of a study at the spacing of the training: a GiB for each image


def check(cases: Sequence[Study], held_out: Sequence[Study], overlap: str) -> None:
    """Raise a ModelError where no honest training can come of these people."""
    if overlap not in ("refuse", "allow"):
        raise ModelError(f'Expected overlap="refuse" or "allow", got {overlap!r}.')
    for name, group in (("cases", cases), ("held_out", held_out)):
        if not isinstance(group, Sequence) or not len(group):
            raise ModelError(
                f"Expected studies in {name}, as a list, got {f'a {type(group).__name__}' if group else 'none'}. Split "
                "the cohort: cases, held_out = cohort.split(); of anything else make a list."
            )
        for number, study in enumerate(group, 1):
            _check_form(study, f"Study {number} of {name}")
        if not any((study.mask.array > 0).any() for study in group):
            raise ModelError(
                f"None of the {len(group)} studies in {name} has a lesion in its mask, so there is nothing to "
                f"{'learn' if group is cases else 'measure'}. Raise the prevalence, or check the masks."
            )
    both = people(cases) & people(held_out)
    if both and overlap != "allow":
        raise ModelError(
            f"{len(both)} of the people in held_out are in cases too: the score would be too good. Split by patient: "
            'cohort.split(by="patient"). To see what happens, say overlap="allow".'
        )


def people(studies: Sequence[Study]) -> set[Any]:
    """Who they are; a study that does not say is somebody else each time."""
    return {getattr(study, "patient", id(study)) for study in studies}


def _check_form(study: Any, who: str) -> None:
    """Refuse what is no study: the message never says of whom it is."""
    images, mask = getattr(study, "images", None), getattr(study, "mask", None)
    parts = [mask, *images.values()] if isinstance(images, Mapping) else [None]
    wrong = [type(part).__name__ for part in parts if not isinstance(part, Volume) or part.array.ndim != 3]
    if wrong:
        raise ModelError(
            f"{who}: expected .images, a dict of highdicom.Volume (slice, row, column), and .mask, one on their grid; "
            f"got a {type(study).__name__} with {wrong[0]}. Of arrays make volumes: highdicom.Volume(array, affine, "
            "coordinate_system='PATIENT'); of a dict a study: types.SimpleNamespace(**case)."
        )


def prepare(study: Study, recipe: Recipe, transform: Any, who: str = "A study") -> tuple[Tensor, Tensor]:
    """Image, float16 (channel, x, y, z), and mask, bool (1, x, y, z), as the network sees them; axes to R, A, S."""
    if missing := [name for name in recipe.channels if name not in study.images]:
        raise ModelError(
            f"{who} lacks the image {', '.join(missing)} of the recipe's channels {', '.join(recipe.channels)}; it has "
            f"{', '.join(study.images) or 'none'}. Leave the study out, or train with channels= those that all have."
        )
    images = {name: study.images[name] for name in recipe.channels}
    check_voxels({**images, "the mask": study.mask}, f"{who}: ")
    axes = np.abs(study.mask.affine[:3, :3]).argmax(0)
    finer = [
        mm / recipe.spacing_mm[a] for a, mm in zip(axes, study.mask.spacing, strict=True) if recipe.spacing_mm[a] > 0
    ]
    if (voxels := study.mask.array.size * float(np.prod(finer))) > MOST:
        raise ModelError(
            f"{who}: its voxels of {in_mm(study.mask)} would become {voxels:,.0f} at the recipe's spacing_mm "
            f"{recipe.spacing_mm}; {MOST:,} are the most. Check its affine, or train with a larger spacing_mm."
        )
    with explained(who, "Change the scaling of the recipe."):
        ready = transform({"image": to_tensor(*images.values()), "mask": to_tensor(study.mask)})
    image = ready["image"].as_tensor().half()
    if not image.isfinite().all():
        raise ModelError(f"{who}: scaled as the recipe says, it is NaN or beyond 65,504. Change its scaling.")
    return image, ready["mask"].as_tensor() > 0


class Samples:
    """Patches to learn from, cut out of images in memory; which ones follows from the seed and the step alone."""

    def __init__(self, ready: Sequence[tuple[Tensor, Tensor]], recipe: Recipe, seed: int, device: Any):
        pad = build({"_target_": "SpatialPad", "spatial_size": recipe.patch, "mode": "edge"})
        self.sums = [float(image.sum(dtype=optional("torch").float64)) for image, _ in ready]  # known again by these
        self.recipe, self.seed, self.device = recipe, seed, device
        self.pairs = [tuple(pad(each).as_tensor() for each in pair) for pair in ready]
        self.lesions = [place for case, (_, mask) in enumerate(self.pairs) for place in self._places(case, mask[0])]
        if not self.lesions:
            raise ModelError(
                f"At the recipe's spacing_mm {recipe.spacing_mm} no lesion of the cases is left: they are smaller than "
                "a voxel. Train with a smaller spacing_mm, or check the affine of the studies."
            )
        self.augment = build({"_target_": "Compose", "transforms": list(recipe.augmentation)})
        size = sum(each.nbytes for pair in self.pairs for each in pair)
        if device.type == "cuda" and size < optional("torch").cuda.mem_get_info(device)[0] / 2:
            self.pairs = [tuple(each.to(device) for each in pair) for pair in self.pairs]  # all of it fits on the card

    def _places(self, case: int, mask: Tensor) -> list[NDArray]:
        """The voxels (case, x, y, z) of each lesion; in two dimensions, of each slice with a lesion."""
        voxels = np.argwhere(mask.numpy())
        if self.recipe.dimensions == 2:
            groups = voxels[:, 2]
        else:
            groups = ndimage.label(mask.numpy(), np.ones((3, 3, 3)))[0][tuple(voxels.T)]
        voxels = np.insert(voxels, 0, case, axis=1)
        return [voxels[groups == group] for group in np.unique(groups)]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The patches of one step, augmented: images (batch, channel, *patch) and masks (batch, 1, *patch), float32."""
        torch, rng = optional("torch"), np.random.default_rng([self.seed, step])
        self.augment.set_random_state(int(rng.integers(2**31)))
        torch.manual_seed(int(rng.integers(2**31)))  # for layers that throw dice of their own, as dropout does
        around = round(self.recipe.batch * self.recipe.with_lesion)
        cut = [self._cut(rng, lesion=n < around) for n in range(self.recipe.batch)]
        data = optional("monai.data")
        tracked = data.get_track_meta()
        data.set_track_meta(False)  # MONAI's record of where each voxel came from costs four times what a flip does
        try:
            with explained("The augmentation of the recipe fails", "It takes the keys image and mask."):
                patches = [self.augment(patch) for patch in cut]
        finally:
            data.set_track_meta(tracked)
        images, masks = (torch.stack([patch[key] for patch in patches]) for key in ("image", "mask"))
        return images.to(self.device).float(), masks.to(self.device).float()

    def _cut(self, rng: np.random.Generator, *, lesion: bool) -> dict[str, Tensor]:
        """One patch around a lesion, or anywhere."""
        patch = np.array(self.recipe.patch)
        if lesion:
            place = self.lesions[rng.integers(len(self.lesions))]
            case, *centre = place[rng.integers(len(place))]
            centre = centre + rng.uniform(-0.25, 0.25, 3) * patch
        else:
            case = rng.integers(len(self.pairs))
            centre = rng.uniform(0, self.pairs[case][1].shape[1:])
        room = np.array(self.pairs[case][1].shape[1:]) - patch
        x, y, z = np.clip(np.rint(centre - patch // 2).astype(int), 0, room)
        box = (slice(None), slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2]))
        image, mask = (each[box] for each in self.pairs[case])
        flat = self.recipe.dimensions == 2
        return {"image": image[..., 0] if flat else image, "mask": mask[..., 0] if flat else mask}
