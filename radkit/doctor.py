"""``radkit doctor``: what this machine has, what it lacks, and how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``needed`` if the lessons cannot do without it."""

    what: str
    ok: bool
    text: str
    needed: bool = True


def examine() -> list[Finding]:
    """Look at Python, the packages, the archive, the data, the processor and the graphics card."""
    return [python(), packages(), monai(), archive(), data(), processor(), graphics()]


def python() -> Finding:
    """Report the interpreter."""
    return Finding("Python", sys.version_info >= (3, 10), f"{platform.python_version()}, 3.10 or newer is needed")


def packages() -> Finding:
    """Report the packages that are missing, or of another version than radkit asks for."""
    wrong = []
    for requirement in map(Requirement, requires("radkit") or []):
        extras = ("view", "model", "pacs", "deploy", "lab", "")
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        try:
            if requirement.name != "radkit" and not requirement.specifier.contains(version(requirement.name)):
                wrong.append(f"{requirement.name} {version(requirement.name)} instead of {requirement.specifier}")
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
    mend = "; mend it with: pip install -c constraints.txt -e '.[all]'"
    return Finding("packages", not wrong, ", ".join(wrong) + mend if wrong else "all there")


def monai() -> Finding:
    """Import MONAI as a learner would, in a process of its own."""
    child = subprocess.run(
        [sys.executable, "-c", "import monai; print(monai.__version__)"], capture_output=True, text=True
    )
    if child.returncode == 0:
        return Finding("MONAI", True, f"{child.stdout.strip()} imports")
    last = "".join(child.stderr.strip().splitlines()[-1:])
    return Finding("MONAI", False, f"{last}; try: python -m radkit.cuda_runtime")


def archive() -> Finding:
    """Report whether a real Orthanc can be started."""
    if shutil.which("Orthanc"):
        return Finding("Orthanc", True, "installed", needed=False)
    text = "not installed: the embedded archive stands in (Debian: sudo apt-get install orthanc orthanc-dicomweb)"
    return Finding("Orthanc", False, text, needed=False)


def data() -> Finding:
    """Report which sources of the catalog, and which parts of the program, are in the cache."""
    from ._assets import assets, verify
    from .data import catalog

    missing = [source.name for source in (*catalog().values(), *assets().values()) if verify(source)]
    text = f"not in the cache: {', '.join(missing)}; fetch with: radkit data fetch" if missing else "in the cache"
    return Finding("starter data", not missing, text, needed=False)


def processor() -> Finding:
    """Report cores and free disk."""
    free = shutil.disk_usage(".").free / 1e9
    text = f"{os.cpu_count()} cores, {free:.0f} GB of disk free (5 GB are needed)"
    return Finding("machine", free > 5, text)


def graphics() -> Finding:
    """Report an NVIDIA card, and whether the PyTorch that is installed can use it."""
    try:
        build = version("torch")
    except PackageNotFoundError:
        build = "missing"
    if not shutil.which("nvidia-smi"):
        return Finding("GPU", True, f"none by NVIDIA; everything runs on the processor (PyTorch {build})", needed=False)
    ok = "+cpu" not in build
    return Finding(
        "GPU", ok, f"NVIDIA; PyTorch {build}" + ("" if ok else ": use it with make lab TORCH=cuda"), needed=False
    )
