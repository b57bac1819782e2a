"""Build a MAP (MONAI Application Package 1.0) as a folder: what the image will hold, laid out as it will lie there.

The manifests are written here, by the specification, and not by holoscan-cli 4.2, which departs from it (`lint_map`
says where), hides the exit status, and builds on NVIDIA's base images alone. What it does well is an image with CUDA:
`build_official` hands it the finished folder.

Specification: github.com/Project-MONAI/monai-deploy, guidelines/monai-application-package.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .. import __version__
from .._folders import whole_folder
from .._optional import optional
from ..errors import DeployError
from ..model import Bundle, load_bundle

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

HERE = Path(__file__).parent
PACKAGE = HERE.parent
SDK, SDK_VERSION, HOLOSCAN = "monai-deploy-app-sdk", "4.0.0", "4.6.0"
BASE = "nvcr.io/nvidia/cuda:13.0.0-runtime-ubuntu24.04"  # of holoscan-cli 4.2
TITLE = "radkit lung nodule"
# MAP 1.0, table of environment variables. The specification calls the last two HOLOSCAN_DOCS and HOLOSCAN_LOGS in its
# text and the packager HOLOSCAN_DOCS_PATH and HOLOSCAN_LOGS_PATH: both are set.
ENVIRONMENT = {
    "HOLOSCAN_APPLICATION": "/opt/holoscan/app/",
    "HOLOSCAN_INPUT_PATH": "/var/holoscan/input/",
    "HOLOSCAN_OUTPUT_PATH": "/var/holoscan/output/",
    "HOLOSCAN_WORKDIR": "/var/holoscan/",
    "HOLOSCAN_MODEL_PATH": "/opt/holoscan/models/",
    "HOLOSCAN_CONFIG_PATH": "/var/holoscan/app.yaml",
    "HOLOSCAN_APP_MANIFEST_PATH": "/etc/holoscan/app.json",
    "HOLOSCAN_PKG_MANIFEST_PATH": "/etc/holoscan/pkg.json",
    **dict.fromkeys(("HOLOSCAN_DOCS", "HOLOSCAN_DOCS_PATH"), "/opt/holoscan/docs/"),
    **dict.fromkeys(("HOLOSCAN_LOGS", "HOLOSCAN_LOGS_PATH"), "/var/holoscan/logs/"),
}
APP_MANIFEST = {  # /etc/holoscan/app.json
    "apiVersion": "1.0.0",
    "type": "application",  # demanded by the text of the specification, absent from its table
    "command": "python3 -u /opt/holoscan/app/app.py",
    "environment": ENVIRONMENT,
    "input": {"formats": ["file"], "path": "input"},
    "output": {"format": "file", "path": "output"},
    "sdk": SDK,
    "sdkVersion": SDK_VERSION,
    "timeout": 600,
    "version": __version__,
    "workingDirectory": "/var/holoscan/",
}
# What the application imports, by its own hand or radkit's; pinned to what is installed where the MAP is built.
REQUIREMENTS = (
    "dicom-anonymizer", "highdicom", "imagecodecs", "jsonschema", "monai", "nibabel", "numpy", "pydicom", "pylibjpeg",
    "pylibjpeg-openjpeg", "pyyaml", "scipy", "torch", "tqdm",
)  # fmt: skip
SDK_REQUIREMENTS = (f"{SDK}=={SDK_VERSION}", f"holoscan-cu13=={HOLOSCAN}", "nvidia-cuda-runtime==13.0.96")


@dataclass(frozen=True)
class PackedBundle(Bundle):
    """A bundle as a MAP holds it: the weights lie apart, in a folder of its name with nothing beside them."""

    model: Path = Path()  # the TorchScript file under the MAP's model root

    @property
    def name(self) -> str:
        """The bundle's own, by which the MAP's model root knows it."""
        return self.model.parent.name

    def network(self, device: str | torch.device = "cpu") -> Module:
        """The network as TorchScript: all that a MAP holds of it, made by whoever made the MAP."""
        return optional("torch").jit.load(str(self.model), map_location=device).eval()


def packed_bundle(folder: Path, model_root: Path) -> PackedBundle:
    """Open the bundle of a MAP: its configuration in the application's folder, its weights under the model root."""
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    (weights,) = model_root.glob("*/model.ts")
    return PackedBundle(folder, metadata, weights)


def build_map(
    folder: str | Path,
    *,
    bundle: Bundle | str | Path | None = None,
    app: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Build the MAP folder of an application.

    Parameters
    ----------
    folder : path
        Where it goes. It appears complete or not at all.
    bundle : Bundle or path, optional
        The model; the lung nodule bundle that comes with radkit.
    app : path, optional
        The application's folder, with app.py and app.yaml in it; the lung nodule application that comes with radkit.
    overwrite : bool
        Replace a MAP that is there already.

    Returns
    -------
    Path
        The folder: ``etc/holoscan`` (manifests), ``opt/holoscan`` (application with the radkit it was built from,
        model, documents), ``var/holoscan`` (configuration, entry point), a Dockerfile and pinned requirements. The
        same inputs give the same files.

    Raises
    ------
    DeployError
        If the folder is taken, or the application lacks app.py or app.yaml.
    ModelError
        If the bundle is incomplete.
    """
    source = Path(app or HERE / "nodule_app")
    if missing := [name for name in ("app.py", "app.yaml") if not (source / name).is_file()]:
        raise DeployError(f"{source} lacks {' and '.join(missing)}: an application is a folder that holds both.")
    with whole_folder(folder, "MAP", "etc/holoscan/app.json", overwrite=overwrite, error=DeployError) as new:
        _lay_out(new, source, bundle if isinstance(bundle, Bundle) else load_bundle(*([bundle] if bundle else [])))
    return Path(folder).absolute()


def _lay_out(root: Path, app: Path, bundle: Bundle) -> None:
    """Write every file of the MAP under ``root``."""
    etc, opt, var = (root / top / "holoscan" for top in ("etc", "opt", "var"))
    no_pyc = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(app, opt / "app", ignore=no_pyc)
    (opt / "app" / "app.yaml").unlink()  # it lies under /var
    for package in (PACKAGE, PACKAGE.with_name("radkit_phantoms")):  # the second for what it knows of lungs
        shutil.copytree(package, opt / "app" / package.name, ignore=no_pyc)
    shutil.copytree(bundle.folder / "configs", opt / "app" / "bundle" / "configs")
    for part in ("LICENSE", "docs/README.md"):
        _copy(bundle.folder / part, opt / "docs" / bundle.name / Path(part).name)
    _copy(bundle.model, opt / "models" / bundle.name / "model.ts")
    _copy(app / "app.yaml", var / "app.yaml")
    _copy(HERE / "map_tools.py", var / "tools")
    (var / "tools").chmod(0o755)
    for empty in ("input", "output", "logs"):
        (var / empty).mkdir()
    _write(etc / "app.json", json.dumps(APP_MANIFEST, indent=2))
    _write(etc / "pkg.json", json.dumps(_package_manifest(bundle.name, app), indent=2))
    _write(root / "requirements.txt", "\n".join(_pins()))
    _write(root / "Dockerfile", _dockerfile())


def build_official(root: Path, tag: str = f"radkit-nodule:{__version__}") -> str:
    """Have holoscan-cli's packager make an image of a MAP folder (manifests and all are its own); return the tag."""
    places = os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
    packager, docker = (shutil.which(name, path=places) or sys.executable for name in ("monai-deploy", "docker"))
    wants = {  # python knows none of these words either
        "the packager (pip install 'radkit[deploy]', on Linux)": [packager, "version"],
        "a docker daemon that answers (see: docker info)": [docker, "info"],
        f"NVIDIA's base image (docker pull {BASE})": [docker, "image", "inspect", BASE],
    }
    if lacks := [what for what, words in wants.items() if subprocess.run(words, capture_output=True).returncode]:
        raise DeployError(f"--official needs {', and '.join(lacks)}. Without it: radkit map image {root}")
    with tempfile.TemporaryDirectory() as folder:
        room, opt = Path(folder), root / "opt" / "holoscan"
        shutil.copytree(opt / "app", room / "app")
        _copy(root / "requirements.txt", room / "app" / "requirements.txt")  # its own pip-packages end up on one line
        about = {"title": TITLE, "version": __version__, "input-formats": ["file"], "output-formats": ["file"]}
        kept = yaml.safe_load((root / "var" / "holoscan" / "app.yaml").read_text(encoding="utf-8"))
        _write(room / "app.yaml", yaml.safe_dump({"application": about, **kept}))
        # Its list of releases, which it would fetch, ends before the holoscan that the SDK runs on here.
        release: dict[str, Any] = {"debian-version": HOLOSCAN, "wheel-version": HOLOSCAN, "base-images": {"dgpu": BASE}}
        release["build-images"] = {kind: {} for kind in ("cpu", "dgpu", "igpu")}
        _write(room / "artifacts.json", json.dumps({HOLOSCAN: {"holoscan": release}}))
        words = [packager, "package", f"{room}/app/app.py", f"--config={room}/app.yaml", f"--models={opt}/models"]
        words += [f"--docs={opt}/docs", f"--source={room}/artifacts.json", f"--sdk-version={SDK_VERSION}"]
        if subprocess.run([*words, f"--tag={tag}", "--platform=x86_64"]).returncode:
            raise DeployError("The official packager failed: its own words are above.")
    return tag


def _package_manifest(name: str, app: Path) -> dict[str, Any]:
    """The package manifest, ``/etc/holoscan/pkg.json``."""
    return {
        "apiVersion": "1.0.0",
        "applicationRoot": "/opt/holoscan/app/",
        "modelRoot": "/opt/holoscan/models/",
        "models": [{"name": name, "path": name}],
        "resources": yaml.safe_load((app / "app.yaml").read_text(encoding="utf-8")).get("resources", {}),
        "version": __version__,
    }


def _pins() -> list[str]:
    """Requirements of the image, pinned to the versions installed here; what is not installed stays unpinned."""
    pins = [*REQUIREMENTS]
    for place, name in enumerate(pins):
        with contextlib.suppress(PackageNotFoundError):
            pins[place] += f"=={version(name).partition('+')[0]}"
    return pins + [f'{line}; sys_platform == "linux"' for line in SDK_REQUIREMENTS]


def _dockerfile() -> str:
    """An image for CPUs on any Debian-based Python, by the specification; user 1000, no secrets, one entry point."""
    settings = " \\\n    ".join(f"{name}={value}" for name, value in sorted(ENVIRONMENT.items()))
    return f"""\
ARG BASE=python:3.11-slim-bookworm
FROM ${{BASE}} AS packages
COPY requirements.txt /tmp/requirements.txt
RUN --mount=type=secret,id=pip --mount=type=secret,id=ca --mount=type=cache,target=/var/cache/pip \\
    PIP_CONFIG_FILE=/run/secrets/pip PIP_CACHE_DIR=/var/cache/pip PIP_ROOT_USER_ACTION=ignore \\
    python3 -m pip install --no-compile -r /tmp/requirements.txt && rm /tmp/requirements.txt && \\
    packages=$(python3 -c "import sysconfig; print(sysconfig.get_path('purelib'))") && \\
    {{ python3 -m compileall -q -j 0 $packages >/dev/null || true; }}

FROM packages
LABEL org.opencontainers.image.title="{TITLE}" \\
    org.opencontainers.image.version="{__version__}" \\
    org.monai.deploy.app-sdk="{SDK_VERSION}"
COPY --chmod=755 etc/ /etc/
COPY --chmod=755 opt/ /opt/
RUN cd /opt/holoscan/app && python3 -m radkit.cuda_runtime && python3 -m compileall -q /opt/holoscan/app
COPY --chown=1000:1000 --chmod=755 var/ /var/
ENV HOME=/tmp {settings}
WORKDIR /var/holoscan
USER 1000:1000
ENTRYPOINT ["/var/holoscan/tools"]
"""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8", newline="\n")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
