"""What the JSON of a bundle from elsewhere may say: the names of known steps and plain values, nothing that runs code.

MONAI's own parser evaluates every string that begins with ``$``, imports whatever ``_target_`` names, and opens the
files behind ``%``. Here a configuration is read as data first; only what is on the lists below is ever built.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from radkit._optional import optional
from radkit.errors import ModelError

LARGEST, DEEPEST, LONGEST, HIGHEST = 1_000_000, 16, 64, 4096  # bytes of a file, nesting, items of a list, a size
NETWORKS = """AttentionUnet BasicUNet BasicUNetPlusPlus DenseNet DenseNet121 DenseNet169 DenseNet201 DenseNet264 DynUNet
    HighResNet RegUNet SegResNet SegResNetDS SegResNetVAE UNet VNet"""
# Of MONAI's transforms those that look at nothing but the image and write nothing; each also by key (``Spacingd``).
TRANSFORMS = """Activations AsDiscrete CastToType CenterSpatialCrop ClipIntensityPercentiles Compose ConcatItemsd
    CropForeground DeleteItemsd DivisiblePad EnsureChannelFirst EnsureType FillHoles Flip HistogramNormalize Identity
    Invertd KeepLargestConnectedComponent NormalizeIntensity Orientation RemoveSmallObjects Resize ResizeWithPadOrCrop
    ScaleIntensity ScaleIntensityRange ScaleIntensityRangePercentiles SelectItemsd ShiftIntensity Spacing SpatialPad
    SqueezeDim ThresholdIntensity Transpose"""
TRANSFORM_NAMES = {name + end for name in TRANSFORMS.split() for end in ("", "d")}
PARTS = {
    "network_def": ("monai.networks.nets", set(NETWORKS.split())),
    "preprocessing": ("monai.transforms", TRANSFORM_NAMES),
    "inferer": ("monai.inferers", {"SimpleInferer", "SliceInferer", "SlidingWindowInferer"}),
    "postprocessing": ("monai.transforms", TRANSFORM_NAMES),
}
FILES = {"LoadImage", "LoadImaged", "SaveImage", "SaveImaged"}
WORD = re.compile(r"[\w :.+-]{0,64}")  # what a literal argument is made of: no expression, no reference, no path
DTYPE = re.compile(r"\$(?:torch|np|numpy)\.(uint8|int8|int16|int32|int64|float16|float32|float64|bool)")


def part_of(folder: Path, part: str, trust: bool = False) -> Path:
    """A file of a bundle, which must be there and, unless it is trusted, inside of it."""
    if not (path := folder / part).is_file():
        raise ModelError(f"The bundle {folder} lacks {part}. Restore it, or rebuild radkit's own with: make model")
    if not trust and not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{path} is a link to outside of the bundle. Put the file itself there.")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a bundle, an object.

    Raises
    ------
    ModelError
        If it is over 1 MB, nested too deeply, holds NaN or Infinity, or is no JSON object.
    """
    if path.stat().st_size > LARGEST:
        raise ModelError(
            f"{path} is over {LARGEST:,} bytes: no configuration is. Get the bundle again from its source."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        why = error if isinstance(error, ValueError) else "it is nested too deeply"
        raise ModelError(f"{path} is not JSON that can be read: {why}. Get it again from its source.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} should hold an object, {{...}}; it holds a {type(content).__name__}.")
    return content


def read_parts(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The parts of a configuration that make a prediction, if they are literal; the rest of it is left out.

    Raises
    ------
    ModelError
        If one would run code or open a file; the message names the file, the key and what it says.
    """
    root = config.get("bundle_root", ".")
    if not isinstance(root, str) or Path(root).is_absolute() or ".." in Path(root).parts:
        raise ModelError(f"{path}: bundle_root is {root!r}, a place outside of the bundle; it should be '.'.")
    return {part: _Part(path, part, config).read() for part in PARTS if part in config}


def _finite(text: str) -> float:
    """A number of JSON; NaN and the infinities, which are none, are a ValueError."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it holds {text}")
    return number


class _Part:
    """One part of a configuration on its way from text to what may be built."""

    def __init__(self, path: Path, part: str, config: dict[str, Any]):
        self.path, self.part, self.config = path, part, config
        self.module, self.names = PARTS[part]

    def read(self) -> Any:
        return self._value(self.config[self.part], self.part, 0)

    def _refuse(self, key: str, value: Any, why: str) -> ModelError:
        return ModelError(
            f"{self.path}, {key}: {str(value)[:120]!r} {why}. A bundle is read as data. "
            "If you know who made it, load_bundle(..., trust=True) lets it run whatever it says, with your rights."
        )

    def _value(self, value: Any, key: str, depth: int) -> Any:
        """A value, read for what it says; ``key`` is where it stands."""
        if depth > DEEPEST:
            raise self._refuse(key, "...", "is nested too deeply, or refers to itself")
        if isinstance(value, list):
            if len(value) > LONGEST:
                raise self._refuse(key, f"{len(value)} items", f"are more than {LONGEST}")
            return [self._value(item, f"{key}::{number}", depth + 1) for number, item in enumerate(value)]
        if isinstance(value, dict):
            return self._step(value, key, depth) if "_target_" in value else self._arguments(value, key, depth)
        if isinstance(value, str):
            return self._text(value, key, depth)
        if self.part in ("network_def", "inferer") and isinstance(value, (int, float)) and abs(value) > HIGHEST:
            raise self._refuse(key, value, f"is more than {HIGHEST}, which no network for an image needs")
        return value

    def _step(self, value: dict[str, Any], key: str, depth: int) -> Any:
        """Something to build: a class by its name, if it is on the list, and its arguments."""
        name = str(value["_target_"]).removeprefix(f"{self.module}.")
        said = {k: v for k, v in value.items() if k not in ("_target_", "_desc_")}
        if self.module == "monai.transforms" and name in FILES:  # the image is in memory
            name = "EnsureChannelFirstd" if said.get("ensure_channel_first") is True else "Identity"
            said = {"keys": said.get("keys")} if name != "Identity" else {}
        if name not in self.names:
            raise self._refuse(f"{key}::_target_", name, f"is none of the steps of {self.module} that are known")
        return {"_target_": f"{self.module}.{name}", **self._arguments(said, key, depth)}

    def _arguments(self, value: dict[str, Any], key: str, depth: int) -> dict[str, Any]:
        """Arguments by name; ``_mode_``, ``_requires_`` and the like change how MONAI runs a step, and are refused."""
        for name in value:
            if not name.isidentifier() or name.startswith("_"):
                raise self._refuse(f"{key}::{name}", name, "is not the name of an argument")
        return {name: self._value(item, f"{key}::{name}", depth + 1) for name, item in value.items()}

    def _text(self, value: str, key: str, depth: int) -> Any:
        """A word; the type of a number, however it is written; or a reference to a value of the same file."""
        if found := DTYPE.fullmatch(value):
            return getattr(optional("torch"), found[1])
        if value == "@preprocessing" and self.part == "postprocessing" and key.endswith("::transform"):
            return value
        if value[:1] == "@" and value[1:] in self.config:
            return self._value(self.config[value[1:]], key, depth + 1)
        if not WORD.fullmatch(value) or ".." in value:
            raise self._refuse(key, value, "would be run as code or opened as a file")
        return value
