"""Deploy: the MONAI Deploy application, its MAP (the folder that becomes an image), and running it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Which module a name comes from. No module bears the name of a function: once imported, it would take its place here.
_HOME = {
    "Run": "runner",
    "build_map": "package",
    "link_cuda_runtime": "cuda_runtime",
    "run_map": "runner",
    "run_steps": "pipeline",
}
__all__ = ["Run", "build_map", "link_cuda_runtime", "run_map", "run_steps"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
