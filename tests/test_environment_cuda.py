"""holoscan, and with it MONAI, imports on a machine that has no CUDA toolkit: proved with the toolkit hidden.

In a mount namespace of its own the test lays an empty file over every libcudart that the loader knows, and rebuilds the
loader's cache. The same namespace without radkit's link must fail, or the test would prove nothing.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(find_spec("holoscan") is None, reason="MONAI Deploy has no wheels for this platform")


def known_to_the_loader() -> list[str]:
    """The libcudart that the loader's cache holds: a toolkit's."""
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    listed = subprocess.run([ldconfig or "ldconfig", "-p"], capture_output=True, text=True).stdout
    return sorted({str(Path(path).resolve()) for path in re.findall(r"libcudart\S* .*=> (\S+)", listed)})


def namespace() -> list[str] | None:
    """The command that opens a mount namespace here: as root, or as root of a user namespace."""
    for command in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return None


def run_without_toolkit(code: str, *, tmp_path: Path, spoil: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python where no toolkit can be found, after the shell commands ``spoil``."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LD_", "CUDA"))}
    toolkit, opened = known_to_the_loader(), namespace()
    if opened is None and (toolkit or spoil):
        pytest.skip(f"NOT PROVED HERE: a toolkit ({toolkit}) cannot be hidden without root or user namespaces")
    python = shlex.join([sys.executable, "-c", code])
    if opened is None:
        return subprocess.run(["sh", "-c", python], capture_output=True, text=True, env=environment)
    cache = tmp_path / "ld.so.cache"
    steps = [f"mount --bind /dev/null {shlex.quote(library)}" for library in toolkit]
    steps += [spoil, f"/sbin/ldconfig -X -C {cache}", f"mount --bind {cache} /etc/ld.so.cache"]
    steps += ["! /sbin/ldconfig -p | grep libcudart", python]
    return subprocess.run([*opened, "sh", "-ec", "\n".join(steps)], capture_output=True, text=True, env=environment)


def test_holoscan_imports_without_a_toolkit(tmp_path):
    done = run_without_toolkit("import holoscan.core; print('imported')", tmp_path=tmp_path)
    assert "imported" in done.stdout, done.stderr


@pytest.mark.slow
def test_monai_imports_without_a_toolkit(tmp_path):
    done = run_without_toolkit("import monai; print('imported')", tmp_path=tmp_path)
    assert "imported" in done.stdout, done.stderr


@pytest.mark.parametrize("spoilt", ["the link", "the library"])
def test_without_the_link_or_the_library_it_fails(tmp_path, spoilt):
    (holoscan,), (nvidia,) = (find_spec(name).submodule_search_locations for name in ("holoscan", "nvidia"))
    spoil = f"mount -t tmpfs none '{nvidia}/cu13/lib'"
    if spoilt == "the link":
        spoil = f"""
cd '{tmp_path}'; mkdir all but
mount --bind '{holoscan}/lib' all; ln -s "$PWD"/all/* but; rm but/libcudart.so.13
mount --bind but '{holoscan}/lib'
"""
    done = run_without_toolkit("import holoscan.core", tmp_path=tmp_path, spoil=spoil)
    assert done.returncode != 0
    assert "libcudart.so.13: cannot open shared object file" in done.stderr


def link(site: Path) -> subprocess.CompletedProcess[str]:
    """Call link_cuda_runtime among the packages of ``site`` alone: not even site-packages is there."""
    code = f"""
import sys
sys.path[:0] = [{str(site)!r}, {str(REPOSITORY)!r}]
from radkit.cuda_runtime import link_cuda_runtime
print(link_cuda_runtime())
"""
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "holoscan" / "lib").mkdir(parents=True)
    (tmp_path / "holoscan" / "__init__.py").write_text("raise ImportError('libcudart.so.13 is missing')")
    (tmp_path / "nvidia" / "cu13" / "lib").mkdir(parents=True)
    (tmp_path / "nvidia" / "cu13" / "lib" / "libcudart.so.13").write_text("the library")
    return tmp_path


def test_the_link_is_made_once_with_the_standard_library_and_without_importing_holoscan(site):
    place = site / "holoscan" / "lib" / "libcudart.so.13"
    for _ in range(2):
        done = link(site)
        assert done.stdout.strip() == str(place), done.stderr
        assert place.readlink() == Path("../../nvidia/cu13/lib/libcudart.so.13")
        assert place.read_text() == "the library"


def test_a_link_that_leads_nowhere_is_mended(site):
    (site / "holoscan" / "lib" / "libcudart.so.13").symlink_to("../gone")
    assert link(site).returncode == 0
    assert (site / "holoscan" / "lib" / "libcudart.so.13").read_text() == "the library"


def test_a_missing_runtime_is_named_with_the_command_that_brings_it(site):
    (site / "nvidia" / "cu13" / "lib" / "libcudart.so.13").unlink()
    assert "pip install nvidia-cuda-runtime==13.0.96" in link(site).stderr


def test_nothing_is_done_where_holoscan_is_not_installed(tmp_path):
    assert link(tmp_path).stdout.strip() == "None"
