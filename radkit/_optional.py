"""The one door for optional packages: imported when used, and an install command where one is missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from .errors import MissingDependency

# Which extra of pyproject.toml brings a package, by the name it is imported under.
EXTRAS = {
    "anywidget": "view",
    "dicomweb_client": "pacs",
    "holoscan": "deploy",
    "holoscan_cli": "deploy",
    "ipywidgets": "view",
    "jupyterlab": "lab",
    "jupytext": "lab",
    "matplotlib": "view",
    "monai": "model",
    "nbconvert": "lab",
    "papermill": "lab",
    "pynetdicom": "pacs",
    "torch": "model",
}


def optional(name: str) -> ModuleType:
    """Import ``name``, a dotted module of an optional package.

    Raises
    ------
    MissingDependency
        If it is not installed; the message says which command installs it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(name.partition(".")[0], "all")
        raise MissingDependency(
            f"This step needs {error.name or name}, which is not installed here. "
            f"Install it with: pip install 'radkit[{extra}]'"
        ) from error
