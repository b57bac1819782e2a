"""A trained model as a MONAI bundle: a folder that says what the network is, what it was fed and what it is for.

Layout and keys: MONAI Bundle Specification, https://docs.monai.io/en/stable/mb_specification.html.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from radkit._optional import optional
from radkit.errors import ModelError

from .reading import part_of, read_json, read_parts
from .recipes import explained

if TYPE_CHECKING:
    import torch
    from monai.bundle import ConfigParser
    from torch.nn import Module

NEEDED = ("LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt")


@dataclass(frozen=True)
class Bundle:
    """One model and everything that is known about it.

    Attributes
    ----------
    folder : Path
        The bundle.
    metadata : dict
        What ``configs/metadata.json`` holds: version, task, intended use, the format of the network's data.
    trust : bool
        Whether its configurations may run code; if not they are read as data.
    """

    folder: Path
    metadata: dict[str, Any] = field(repr=False)
    trust: bool = field(default=False, repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """The folder's name, which is the bundle's."""
        return self.folder.name

    @property
    def model(self) -> Path:
        """The network as TorchScript: runs without the code that made it, and is a program as much as that code."""
        return part_of(self.folder, "models/model.ts", self.trust)

    @property
    def card(self) -> str:
        """The model card, Markdown: intended use, data, metrics, how it fails."""
        return part_of(self.folder, "docs/README.md", self.trust).read_text(encoding="utf-8")

    @property
    def channels(self) -> tuple[str, ...]:
        """The images that the network is shown, in this order; a ModelError if ``metadata.json`` does not name each."""
        with suppress(KeyError, TypeError):
            image = self.metadata["network_data_format"]["inputs"]["image"]
            names = tuple(image["channel_def"][str(number)] for number in range(image["num_channels"]))
            if len(image["channel_def"]) == len(names) > 0 and all(isinstance(name, str) for name in names):
                return names
        raise ModelError(
            f"{self.folder / 'configs' / 'metadata.json'} should name each input channel: "
            "network_data_format::inputs::image with num_channels, and channel_def {'0': name, ...}."
        )

    def config(self, name: str = "inference") -> ConfigParser:
        """One of the configurations, ``inference`` or ``train``, ready to build what it describes.

        Without ``trust`` it holds the network, the preprocessing, the inferer and the postprocessing, and a ModelError
        names what in them would run code.
        """
        path = part_of(self.folder, f"configs/{name}.json", self.trust)
        if self.trust:
            return open_config(self.folder, name)
        return optional("monai.bundle").ConfigParser(read_parts(read_json(path), path))

    def steps(self) -> tuple[Callable, Any, Callable]:
        """Preprocessing, inferer and postprocessing, for images in memory: no file is read or written."""
        config = in_memory(self.config()) if self.trust else self.config()
        before, inferer, after = (self._build(config, n) for n in ("preprocessing", "inferer", "postprocessing"))
        return before, inferer, after

    def network(self, device: str | torch.device = "cpu") -> Module:
        """Load the network from its definition and ``model.pt``, ready for inference.

        ``model.ts`` is run only of a bundle that is trusted: TorchScript is a program, and may write files.

        Raises
        ------
        ModelError
            If the weights are not plain numbers, or not those of the network that ``inference.json`` describes.
        """
        torch, path = optional("torch"), part_of(self.folder, "models/model.pt", self.trust)
        if self.trust and (script := self.folder / "models" / "model.ts").is_file():
            return torch.jit.load(str(script), map_location=device).eval()
        try:
            with catch_warnings():
                simplefilter("ignore")  # torch warns of TorchScript before it refuses it
                weights = torch.load(path, map_location=device, weights_only=True)
            if not all(_is_plain(tensor) for tensor in weights.values()):
                raise TypeError("not an array of numbers")
        except Exception as error:  # torch raises what it likes on a broken file
            raise ModelError(
                f"{path} is not a file of plain weights: it is damaged, or holds something else, which was not run. "
                "Get it again from its source, or rebuild radkit's own with: make model"
            ) from error
        with nullcontext() if self.trust else torch.device("meta"):  # takes no memory, however large it says it is
            _check(self._build(self.config(), "network_def"), weights, path)
        network = self._build(self.config(), "network_def")
        network.load_state_dict(weights)
        return network.to(device).eval()

    def _build(self, config: ConfigParser, name: str) -> Any:
        """What one part of ``inference.json`` describes."""
        where = self.folder / "configs" / "inference.json"
        with explained(f"{where}: {name} is missing or cannot be built", "Get the bundle again from its source."):
            return config.get_parsed_content(name)


def load_bundle(name_or_path: str | Path = "lung_nodule", *, trust: bool = False) -> Bundle:
    """Open a bundle, as data: no code of it is run.

    Parameters
    ----------
    name_or_path : str or Path
        A folder, or the name of one in the folder that RADKIT_BUNDLES names (default: ``data/bundles`` of a checkout).
    trust : bool
        Let its configurations run what they say (MONAI evaluates expressions and imports modules), with your rights.
        Otherwise the network and the steps before and after it must be MONAI's own, on a list, with plain arguments.

    Raises
    ------
    ModelError
        If there is no such bundle, a part of it is missing or lies outside of it, or it needs ``trust``.
    """
    shelf = Path(os.environ.get("RADKIT_BUNDLES") or Path(__file__).parents[2] / "data" / "bundles")
    if not isinstance(name_or_path, (str, Path)):
        raise ModelError(f"Expected the name or the folder of a bundle, got a {type(name_or_path).__name__}.")
    places = Path(name_or_path), shelf / name_or_path
    folder = None
    with suppress(OSError):  # a name too long is none either
        folder = next((f for f in places if (f / "configs").is_dir()), None)
    if folder is None:
        raise ModelError(
            f"No bundle {str(name_or_path)!r}: neither a folder with configs/ in it nor a bundle in {shelf}. "
            "Name its folder, or point RADKIT_BUNDLES at where the bundles are."
        )
    folder = folder.resolve()
    _, metadata, *_ = (part_of(folder, part, trust) for part in NEEDED)
    bundle = Bundle(folder, read_json(metadata), trust=trust)
    bundle.config()
    return bundle


def open_config(folder: str | Path, name: str) -> ConfigParser:
    """``configs/<name>.json`` of a bundle that is trusted, complete or not yet: what it says is run."""
    parser = optional("monai.bundle").ConfigParser()
    parser.read_config(str(Path(folder) / "configs" / f"{name}.json"))
    parser["bundle_root"] = str(folder)
    return parser


def in_memory(config: ConfigParser) -> ConfigParser:
    """The configuration of a bundle without the steps that read or write a file."""
    for name in ("preprocessing::transforms", "postprocessing::transforms"):
        config[name] = [step for step in config[name] if not step["_target_"].startswith(("LoadImage", "SaveImage"))]
    return config


def _check(network: Module, weights: dict[str, Any], path: Path) -> None:
    """Refuse weights that are not those of the network, or are no numbers, and name the first."""
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise ModelError(
                f"{path} does not hold the weights of the network in configs/inference.json: {name} should have the "
                f"shape {expected.get(name)} and has {found.get(name)}. Rebuild radkit's own bundle with: make model"
            )
        if not weights[name].isfinite().all():
            raise ModelError(f"{path}: {name} holds NaN or infinity. Train again, with a lower learning_rate.")


def _is_plain(tensor: Any) -> bool:
    """Whether it is an array of real numbers that are all there."""
    torch = optional("torch")
    odd = not isinstance(tensor, torch.Tensor) or tensor.is_quantized or tensor.is_complex() or tensor.is_meta
    return not odd and tensor.layout is torch.strided
