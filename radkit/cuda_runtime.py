"""Let holoscan find CUDA's runtime library in the virtual environment, on machines without a CUDA toolkit.

holoscan links to ``libcudart.so.13`` even where nothing runs on a GPU, and ``import monai`` imports holoscan as soon as
MONAI Deploy is installed. The package nvidia-cuda-runtime brings the library, but to no place where the loader looks;
holoscan's own ``lib`` folder is one. Run once after installing: ``python -m radkit.cuda_runtime``. It needs the
standard library alone, and imports neither package, as that is what fails.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from .errors import DeployError

LIBRARY = "libcudart.so.13"


def link_cuda_runtime() -> Path | None:
    """Link ``holoscan/lib/libcudart.so.13`` to the library of nvidia-cuda-runtime, if it is not there yet.

    Returns the link; None where holoscan is not installed (macOS, Windows), as there is nothing to do. A DeployError
    says that nvidia-cuda-runtime is missing, or that the environment cannot be written to.
    """
    holoscan = _folders("holoscan")
    if not holoscan:
        return None
    link = holoscan[0] / "lib" / LIBRARY
    if link.exists():
        return link
    library = next((f for root in _folders("nvidia") if (f := root / "cu13" / "lib" / LIBRARY).is_file()), None)
    if library is None:
        raise DeployError(f"holoscan needs {LIBRARY}: install it with  pip install nvidia-cuda-runtime==13.0.96")
    try:
        link.unlink(missing_ok=True)  # one that leads nowhere
        link.symlink_to(os.path.relpath(library, link.parent))
    except OSError as error:
        raise DeployError(f"{link} could not be made ({error}); run this as the owner of the environment.") from error
    return link


def _folders(package: str) -> list[Path]:
    """Where an installed package lies, found without importing it."""
    spec = find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


if __name__ == "__main__":
    print(link_cuda_runtime() or "holoscan is not installed here: nothing to link")
