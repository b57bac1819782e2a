"""What a network is taught by, written down as data: it can be read, changed by one word, and packed into a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from radkit._optional import optional
from radkit.errors import ModelError

UNET = {"_target_": "UNet", "out_channels": 1, "num_res_units": 0, "norm": "BATCH"}
LOSS = {"_target_": "DiceCELoss", "sigmoid": True, "batch": True}
FLIPS = [{"_target_": "RandFlipd", "keys": ["image", "mask"], "prob": 0.5, "spatial_axis": axis} for axis in range(3)]


@dataclass(frozen=True)
class Recipe:
    """How to train: every step in MONAI's own words, ``{"_target_": name, ...}``, as in the ``configs`` of a bundle.

    Attributes
    ----------
    task : str
        What the network learns to see, in words.
    channels : tuple of str
        The images it is shown, in this order; keys of ``Study.images``.
    network : dict
        A network of MONAI and its arguments; the number of channels it takes in is added.
    scaling : dict
        The MONAI transform that brings intensities to a common scale.
    spacing_mm : tuple of float
        Voxel size to train at, axes to the patient's (right, anterior, superior) side; -1 keeps the image's own.
    patch : tuple of int
        What one step looks at, voxels, same axes. A third size of 1 makes the network one of two dimensions, of slices.
    batch, steps, learning_rate : int, int, float
        Patches a step, steps, and the highest rate of AdamW under the one-cycle schedule.
    with_lesion : float
        Share of patches cut around a lesion; the others are cut anywhere.
    loss : dict
        A loss of MONAI, of logits.
    augmentation : tuple of dict
        Random MONAI transforms of the keys ``image`` and ``mask``, drawn anew for each patch.
    validate_every, patience : int
        Steps between two validations, and how many without a better Dice end the training early.
    window : tuple of int, optional
        What is looked at at once where a whole image is: a patch, or faster something larger. Windows overlap.
    """

    task: str
    channels: tuple[str, ...]
    network: Mapping[str, Any]
    scaling: Mapping[str, Any]
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    batch: int
    steps: int
    learning_rate: float
    augmentation: tuple[Mapping[str, Any], ...]
    validate_every: int
    patience: int = 4
    with_lesion: float = 0.6
    loss: Mapping[str, Any] = field(default_factory=lambda: dict(LOSS))
    window: tuple[int, int, int] | None = None

    @property
    def dimensions(self) -> int:
        """2 for a network of slices, 3 for one of volumes."""
        return 2 if self.patch[2] == 1 else 3

    def preprocessing(self, mask: bool = False) -> dict[str, Any]:
        """From what a reader of files gives to what the network sees: key ``image``, and ``mask`` if there is one."""
        keys, modes = (["image", "mask"], ["bilinear", "nearest"]) if mask else (["image"], ["bilinear"])
        spacing = {"pixdim": list(self.spacing_mm), "mode": modes, "padding_mode": "border", "dtype": "$torch.float32"}
        steps = [
            {"_target_": "EnsureChannelFirstd", "keys": keys},
            {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS", "labels": None},
            {"_target_": "Spacingd", "keys": keys, **spacing},
            {**self.scaling, "keys": ["image"]},
        ]
        return {"_target_": "Compose", "transforms": steps}

    @property
    def config(self) -> dict[str, Any]:
        """The network and the steps of a prediction, as ``configs/inference.json`` of a bundle has them."""
        size = list((self.window or self.patch)[: self.dimensions])
        slices = {"_target_": "SliceInferer", "spatial_dim": 2}
        inferer = slices if self.dimensions == 2 else {"_target_": "SlidingWindowInferer", "mode": "gaussian"}
        back = {"transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False, "to_tensor": True}
        after = [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {"_target_": "Invertd", "keys": "pred", **back},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        ]
        window = {"roi_size": size, "sw_batch_size": 16, "overlap": 0.25, "padding_mode": "replicate"}
        return {
            "network_def": {**self.network, "spatial_dims": self.dimensions, "in_channels": len(self.channels)},
            "preprocessing": self.preprocessing(),
            "inferer": {**inferer, **window},
            "postprocessing": {"_target_": "Compose", "transforms": after},
        }

    def longer(self) -> Recipe:
        """The same for a graphics card: a network twice as wide, twelve times the steps."""
        wide = {**self.network, "channels": [2 * n for n in self.network["channels"]]}
        return replace(
            self,
            network=wide,
            steps=12 * self.steps,
            learning_rate=self.learning_rate / 2,
            validate_every=4 * self.validate_every,
        )


WHOLE, REAL = (int, np.integer), (int, float, np.number)
LIMITS: dict[str, tuple[Any, int, float, float]] = {  # kind, how many, lowest, highest
    **dict.fromkeys(("batch", "steps", "validate_every", "patience"), (WHOLE, 1, 1, 1e9)),
    **dict.fromkeys(("patch", "window"), (WHOLE, 3, 1, 4096)),
    **{"learning_rate": (REAL, 1, 0, 1), "with_lesion": (REAL, 1, 0, 1), "spacing_mm": (REAL, 3, -1, 1000)},
    **{"seed": (WHOLE, 1, 0, 2**63 - 1), "budget_s": (REAL, 1, 0, 1e9)},
}


def build(config: Mapping[str, Any], *names: str) -> Any:
    """Make what a ``_target_`` describes, by MONAI's own rules for bundles; with names, these parts of a whole file."""
    parser = optional("monai.bundle").ConfigParser(dict(config) if names else {"all": dict(config)})
    with explained("The recipe has a step that cannot be built", "Compare it with MONAI's pages."):
        made = [parser.get_parsed_content(name) for name in names or ("all",)]
    return made if names else made[0]


@contextmanager
def explained(failed: str, remedy: str) -> Iterator[None]:
    """Turn whatever a class of MONAI raises, when it is made or run, into a ModelError: what failed, why, what next."""
    try:
        yield
    except Exception as error:
        if "out of memory" in str(error):
            raise  # for `memory_watched`
        if "KeyboardInterrupt" in str(error):  # which MONAI catches too
            raise KeyboardInterrupt from None
        raise ModelError(f"{failed}: {str(error.__cause__ or error)[:200]}. {remedy}") from error


def choose(recipe: str | Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe of that name, changed where ``changes`` says so."""
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise ModelError(f"No recipe {recipe!r}; there are {', '.join(map(repr, RECIPES))}. Or give a Recipe.")
        recipe = RECIPES[recipe]
    if not isinstance(recipe, Recipe):
        raise ModelError(f"Expected the name of a recipe or a Recipe, got a {type(recipe).__name__}.")
    if wrong := [name for name in changes if name not in vars(recipe)]:
        raise ModelError(f"A recipe has no {', '.join(wrong)}. It has {', '.join(vars(recipe))}.")
    larger = {"window": None} if "patch" in changes else {}  # it belonged to the other patch
    chosen = replace(recipe, **{**larger, **changes})
    check_numbers(**{name: getattr(chosen, name) for name in LIMITS if hasattr(chosen, name)})
    for name in ("channels", "augmentation"):
        if not isinstance(several := getattr(chosen, name), (tuple, list)) or not (several or name == "augmentation"):
            raise ModelError(f"Expected of {name} a list, got {several!r}.")
    for name in ("network", "scaling", "loss"):
        if not isinstance(step := getattr(chosen, name), Mapping) or "_target_" not in step:
            raise ModelError(f"Expected of {name} a dict with _target_, a name of MONAI's, got {step!r}.")
    return chosen


def check_numbers(**numbers: Any) -> None:
    """Raise a ModelError where one is not what it may be."""
    for name, given in numbers.items():
        kind, count, low, high = LIMITS[name]
        values = given if count > 1 and isinstance(given, (tuple, list)) else [given]
        right = all(isinstance(n, kind) and not isinstance(n, bool) and low <= n <= high for n in values)
        if not (right and len(values) == count) and not (given is None and name in ("window", "budget_s")):
            what = f"{count} {'whole ' * (kind is WHOLE)}number{'s' * (count > 1)} from {low:g} to {high:g}"
            raise ModelError(f"Expected of {name} {what}, got {given!r}.")


RECIPES = {
    "brain-lesions": Recipe(
        task="Lesions of the white matter of the brain in T1, T2 and FLAIR",
        channels=("t1", "t2", "flair"),
        # The first stride of 1 keeps the full resolution: lesions are but a few voxels wide.
        network={**UNET, "channels": [8, 16, 32, 64], "strides": [1, 2, 2]},
        scaling={"_target_": "NormalizeIntensityd", "channel_wise": True},
        spacing_mm=(2.0, 2.0, -1.0),
        patch=(48, 48, 1),
        batch=16,
        steps=500,
        learning_rate=4e-3,
        augmentation=(FLIPS[0],),
        validate_every=100,
        window=(80, 96, 1),
    ),
    "chest-nodules": Recipe(
        task="Nodules of the lung in CT",
        channels=("ct",),
        # Slices are 2.5 mm apart: in their plane the network halves twice before it does along them.
        network={**UNET, "channels": [8, 16, 32, 64, 128], "strides": [[2, 2, 1], [2, 2, 1], 2, 2]},
        scaling={
            "_target_": "ScaleIntensityRanged",
            "a_min": -1e3,
            "a_max": 400.0,
            "b_min": -1.0,
            "b_max": 1.0,
            "clip": True,
        },
        spacing_mm=(1.0, 1.0, -1.0),
        patch=(48, 48, 16),
        batch=10,
        steps=900,
        learning_rate=1e-2,
        augmentation=(
            *FLIPS,
            {"_target_": "RandRotate90d", "keys": ["image", "mask"], "prob": 0.75, "max_k": 3, "spatial_axes": [0, 1]},
            {"_target_": "RandScaleIntensityd", "keys": ["image"], "prob": 1.0, "factors": 0.1},
            {"_target_": "RandShiftIntensityd", "keys": ["image"], "prob": 1.0, "offsets": 0.1},
        ),
        validate_every=150,
        window=(96, 96, 40),
    ),
}
