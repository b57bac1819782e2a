"""A trained model as a MONAI bundle: a folder that says what the network is, what it was fed and what it is for.

Layout and keys: MONAI Bundle Specification, https://docs.monai.io/en/stable/mb_specification.html.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radkit._optional import optional
from radkit.errors import ModelError

if TYPE_CHECKING:
    from monai.bundle import ConfigParser
    from torch.nn import Module

PARTS = (
    "LICENSE",
    "configs/metadata.json",
    "configs/inference.json",
    "configs/train.json",
    "models/model.pt",
    "models/model.ts",
    "docs/README.md",
)


@dataclass(frozen=True)
class Bundle:
    """One model and everything that is known about it.

    Attributes
    ----------
    folder : Path
        The bundle.
    metadata : dict
        What ``configs/metadata.json`` holds: version, task, intended use, the format of the network's data.
    """

    folder: Path
    metadata: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The folder's name, which is the bundle's."""
        return self.folder.name

    @property
    def model(self) -> Path:
        """The network as TorchScript: runs without the code that made it."""
        return self.folder / "models" / "model.ts"

    @property
    def card(self) -> str:
        """The model card, Markdown: intended use, data, metrics, how it fails."""
        return (self.folder / "docs" / "README.md").read_text(encoding="utf-8")

    def config(self, name: str = "inference") -> ConfigParser:
        """One of the configurations, ``inference`` or ``train``, ready to build what it describes."""
        return open_config(self.folder, name)

    def network(self, device: str = "cpu") -> Module:
        """Load the network from its definition and ``model.pt``, ready for inference.

        Raises
        ------
        ModelError
            If the weights are not those of the network that ``inference.json`` describes.
        """
        torch = optional("torch")
        network = self.config().get_parsed_content("network_def")
        weights = self.folder / "models" / "model.pt"
        try:
            network.load_state_dict(torch.load(weights, map_location=device, weights_only=True))
        except Exception as error:  # torch raises what it likes on a broken file
            raise ModelError(
                f"{weights} does not hold the weights of the network in configs/inference.json. "
                "Rebuild the bundle with: make model"
            ) from error
        return network.to(device).eval()


def load_bundle(name_or_path: str | Path = "lung_nodule") -> Bundle:
    """Open a bundle.

    Parameters
    ----------
    name_or_path : str or Path
        A folder, or the name of one in the folder that RADKIT_BUNDLES names (default: ``data/bundles`` of a checkout).

    Raises
    ------
    ModelError
        If there is no such bundle, or a part of it is missing.
    """
    shelf = Path(os.environ.get("RADKIT_BUNDLES") or Path(__file__).parents[2] / "data" / "bundles")
    folder = next((f for f in (Path(name_or_path), shelf / name_or_path) if (f / "configs").is_dir()), None)
    if folder is None:
        raise ModelError(
            f"No bundle {str(name_or_path)!r}: neither a folder with configs/ in it nor a bundle in {shelf}. "
            "Name its folder, or point RADKIT_BUNDLES at where the bundles are."
        )
    missing = [part for part in PARTS if not (folder / part).is_file()]
    if missing:
        raise ModelError(f"The bundle {folder} lacks {', '.join(missing)}. Restore it, or rebuild it with: make model")
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder}/configs/metadata.json is not JSON: {error}. Restore the file.") from error
    return Bundle(folder.resolve(), metadata)


def open_config(folder: str | Path, name: str) -> ConfigParser:
    """``configs/<name>.json`` of a bundle, complete or not yet."""
    parser = optional("monai.bundle").ConfigParser()
    parser.read_config(str(Path(folder) / "configs" / f"{name}.json"))
    parser["bundle_root"] = str(folder)
    return parser
