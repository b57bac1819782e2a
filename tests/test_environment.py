"""One set of pins for the lab, CI, conda and Binder, and it installs on each platform."""

import re
import sys
from importlib.metadata import requires, version
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import build_environment  # noqa: E402

PINS = [Requirement(line) for line in build_environment.pins()]


def conda_requirements(path: Path) -> list[str]:
    (pip,) = [entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, dict)]
    return pip


def test_conda_and_binder_hold_the_pins_of_constraints_txt():
    for path, text in build_environment.files().items():
        assert path.read_text() == text, f"{path.name} is out of date: run `make environment`"
        pinned = [line for line in conda_requirements(path) if not line.startswith("-e")]
        assert [str(Requirement(line)) for line in pinned] == [str(pin) for pin in PINS]


def test_every_dependency_of_pyproject_is_pinned_within_its_bounds():
    pins = {}
    for pin in PINS:
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    for line in requires("radkit"):
        wanted = Requirement(line)
        if wanted.name == "radkit":
            continue
        found = pins.get(canonicalize_name(wanted.name))
        assert found, f"{wanted.name} of pyproject.toml is not in constraints.txt: run `make constraints`"
        for pin in found:
            (exact,) = pin.specifier
            assert wanted.specifier.contains(exact.version), f"{pin} is outside {wanted}"


def test_this_environment_is_the_pinned_one():
    for pin in PINS:
        if canonicalize_name(pin.name) in {"torch", "monai", "numpy", "pydicom", "highdicom", "jupyterlab"} and (
            pin.marker is None or pin.marker.evaluate()
        ):
            assert pin.specifier.contains(version(pin.name)), (
                f"{pin.name} {version(pin.name)} is installed, {pin} is pinned"
            )


def test_monai_deploy_is_asked_for_on_linux_alone():
    deploy = [Requirement(line) for line in requires("radkit") if 'extra == "deploy"' in line]
    assert deploy and all("sys_platform" in str(item.marker) for item in deploy)
    for platform in ("darwin", "win32"):
        here = {p.name for p in PINS if p.marker is None or p.marker.evaluate({"sys_platform": platform})}
        assert not here & {"holoscan-cu13", "holoscan-cli", "monai-deploy-app-sdk", "nvidia-cuda-runtime", "triton"}
        assert {"monai", "torch", "highdicom", "jupyterlab"} <= here


def test_binder_installs_what_the_lab_installs():
    sys.path.insert(0, str(ROOT / "tools"))
    import setup

    assert (ROOT / "binder" / "apt.txt").read_text().split() == list(setup.APT["lab"])


def test_no_file_names_a_package_index_or_a_path_of_one_machine():
    text = "\n".join(
        (ROOT / name).read_text() for name in ("constraints.txt", "environment.yml", "pyproject.toml", "Makefile")
    )
    assert not re.search(r"https?://|file://|/(root|home)/", text)
