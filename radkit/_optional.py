"""The one door for optional packages: imported when used, and an install command where one is missing."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from .errors import MissingDependency

# What each extra of pyproject.toml brings, by the name it is imported under.
MODULES = {
    "deploy": "holoscan holoscan_cli",
    "evaluate": "sklearn",
    "lab": "jupyterlab jupytext nbconvert nbformat papermill",
    "model": "monai torch",
    "pacs": "dicomweb_client pynetdicom",
    "view": "IPython PIL anywidget ipywidgets matplotlib traitlets",
}
EXTRAS = {module: extra for extra, modules in MODULES.items() for module in modules.split()}


def optional(name: str) -> ModuleType:
    """Import ``name``, a dotted module of an optional package.

    Raises
    ------
    MissingDependency
        If it is not installed; the message says which command installs it.
    """
    try:
        with _quiet():
            return import_module(name)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(name.partition(".")[0], "all")
        raise MissingDependency(
            f"This step needs {error.name or name}, which is not installed here. "
            f"Install it with: pip install 'radkit[{extra}]'"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Import without what a learner can do nothing about.

    MONAI brings MONAI Deploy along, which warns of the CUDA driver, the stack size and a decoder on every machine
    without a graphics card; and jsonschema, which spends two seconds on a grammar for addresses that nothing checks.
    """
    grammar, level = sys.modules.get("rfc3987_syntax"), logging.root.manager.disable
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None blocks an import
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        if grammar is None:
            sys.modules.pop("rfc3987_syntax", None)
