"""What the JSON of a bundle from elsewhere may say: the names of known steps and plain values, nothing that runs code.

MONAI's own parser evaluates every string that begins with ``$``, imports whatever ``_target_`` names and opens the file
behind a ``%`` (GHSA-873f-pvrv-4x83). Here a configuration is read as data: only what is on the lists below is built.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from radkit._optional import optional
from radkit.errors import ModelError

LARGEST, DEEPEST, LONGEST, MOST = 1_000_000, 16, 64, 2000  # bytes of a file; nesting, items of a list, values in all
COUNT, SIZE, SIZES = 64, 4096, re.compile("channel|feature|filter|growth|size")  # of layers; of one; who may be a size
NETWORKS = """AttentionUnet BasicUNet BasicUNetPlusPlus DenseNet DenseNet121 DenseNet169 DenseNet201 DenseNet264 DynUNet
    HighResNet RegUNet SegResNet SegResNetDS SegResNetVAE UNet VNet"""
# Of MONAI's transforms those that look at nothing but the image and write nothing; each also by key (``Spacingd``).
TRANSFORMS = """Activations AsDiscrete CastToType CenterSpatialCrop ClipIntensityPercentiles Compose ConcatItemsd
    CropForeground DeleteItemsd DivisiblePad EnsureChannelFirst EnsureType FillHoles Flip HistogramNormalize Identity
    Invertd KeepLargestConnectedComponent NormalizeIntensity Orientation RemoveSmallObjects Resize ResizeWithPadOrCrop
    ScaleIntensity ScaleIntensityRange ScaleIntensityRangePercentiles SelectItemsd ShiftIntensity Spacing SpatialPad
    SqueezeDim ThresholdIntensity Transpose"""
FILES = {"LoadImage", "LoadImaged", "SaveImage", "SaveImaged"}
STEPS = "monai.transforms", {name + end for name in TRANSFORMS.split() for end in ("", "d")}
PARTS = {
    "network_def": ("monai.networks.nets", set(NETWORKS.split())),
    "preprocessing": STEPS,
    "inferer": ("monai.inferers", {"SimpleInferer", "SliceInferer", "SlidingWindowInferer"}),
    "postprocessing": STEPS,
}
WORD = re.compile(r"(?!.*\.\.)[\w :.+-]{0,64}")  # what a literal is made of: no expression, no reference, no path
DTYPE = re.compile(r"\$(?:torch|np|numpy)\.(uint8|int8|int16|int32|int64|float16|float32|float64|bool)")


def part_of(folder: Path, part: str, trust: bool = False) -> Path:
    """A file of a bundle, which must be there and, unless it is trusted, inside of it."""
    if not (path := folder / part).is_file():
        raise ModelError(f"The bundle {folder} lacks {part}. Restore it, or rebuild radkit's own with: make model")
    if not trust and not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{path} is a link to outside of the bundle. Put the file itself there.")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a bundle; a ModelError if it is over 1 MB, too deep, holds NaN or Infinity, or is no object."""
    if path.stat().st_size > LARGEST:
        raise ModelError(f"{path} is over {LARGEST:,} bytes: no configuration is. Get it again from its source.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        why = error if isinstance(error, ValueError) else "it is nested too deeply"
        raise ModelError(f"{path} is not JSON that can be read: {why}. Get it again from its source.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} should hold an object, {{...}}; it holds a {type(content).__name__}.")
    return content


def _finite(text: str) -> float:
    """A number of JSON; NaN and the infinities are none."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it holds {text}")
    return number


def read_parts(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The parts of a configuration that make a prediction; the rest is left out.

    A ModelError if one of them would run code or open a file: it names the file, the key and what it says.
    """
    root = config.get("bundle_root", ".")
    if not isinstance(root, str) or Path(root).is_absolute() or ".." in Path(root).parts:
        raise ModelError(f"{path}: bundle_root is {root!r}, a place outside of the bundle; it should be '.'.")
    return {part: _Part(path, part, config).value(config[part], part, 0) for part in PARTS if part in config}


class _Part:
    """One part of a configuration on its way from text to what may be built."""

    def __init__(self, path: Path, part: str, config: dict[str, Any]):
        self.path, self.part, self.config = path, part, config
        (self.module, self.names), self.count = PARTS[part], 0

    def value(self, value: Any, key: str, depth: int) -> Any:
        """A value, read for what it says; ``key`` is where it stands."""
        self.count += 1
        if depth > DEEPEST or self.count > MOST or (isinstance(value, (dict, list)) and len(value) > LONGEST):
            raise self._refuse(key, "...", "is nested too deeply, refers to itself, or is too long")
        if isinstance(value, list):
            return [self.value(item, f"{key}::{number}", depth + 1) for number, item in enumerate(value)]
        if isinstance(value, dict):
            step, said = self._step(value, key) if "_target_" in value else ({}, value)
            if odd := [name for name in said if not name.isidentifier() or name.startswith("_")]:
                raise self._refuse(key, odd[0], "is no argument: it may change how a step is run")
            return step | {name: self.value(item, f"{key}::{name}", depth + 1) for name, item in said.items()}
        if isinstance(value, str):
            return self._text(value, key, depth)
        most = SIZE if SIZES.search(key) else COUNT
        if self.module != STEPS[0] and isinstance(value, (int, float)) and abs(value) > most:
            raise self._refuse(key, value, f"is more than {most}, which no network for an image needs")
        return value

    def _step(self, value: dict[str, Any], key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What to build, if it is on the list, and the arguments that it was given."""
        name = str(value["_target_"]).removeprefix(f"{self.module}.")
        said = {key: item for key, item in value.items() if key not in ("_target_", "_desc_")}
        if self.module == STEPS[0] and name in FILES:  # the image is in memory
            name = "EnsureChannelFirstd" if said.get("ensure_channel_first") is True else "Identity"
            said = {"keys": said.get("keys")} if name != "Identity" else {}
        if name not in self.names:
            raise self._refuse(f"{key}::_target_", name, f"is none of the steps of {self.module} that are known")
        return {"_target_": f"{self.module}.{name}"}, said

    def _text(self, value: str, key: str, depth: int) -> Any:
        """A word; the type of a number, however it is written; or what a reference to the same file refers to."""
        if found := DTYPE.fullmatch(value):
            return getattr(optional("torch"), found[1])
        if value == "@preprocessing" and self.part == "postprocessing" and key.endswith("::transform"):
            return value
        if value[:1] == "@" and value[1:] in self.config:
            return self.value(self.config[value[1:]], key, depth + 1)
        if not WORD.fullmatch(value):
            raise self._refuse(key, value, "would be run as code or opened as a file")
        return value

    def _refuse(self, key: str, value: Any, why: str) -> ModelError:
        return ModelError(
            f"{self.path}, {key}: {str(value)[:120]!r} {why}. A bundle is read as data. "
            "If you know who made it, load_bundle(..., trust=True) lets it run whatever it says, with your rights."
        )
