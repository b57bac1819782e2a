"""The image of a MAP: built without a daemon, run in a locked box, the same voxels as by every other way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from pydicom import dcmread
from test_deploy import bundle, chest, clock, fake_map, packed, wait_until  # noqa: F401 (fixtures)

import radkit as rk
from radkit._assets.sources import cache_folder
from radkit._assets.store import alone
from radkit.deploy.box import ask
from radkit.errors import DeployError

pytestmark = pytest.mark.slow
pytest.importorskip("fcntl", reason="no image is built on Windows")

LOCK = """
import json, os, pathlib, socket, sys, time
said = {}
def attempt(name, deed):
    try:
        deed()
        said[name] = "done"
    except OSError as error:
        said[name] = error.strerror
attempt("network", lambda: socket.create_connection(("192.0.2.1", 80), 3))
attempt("application", lambda: pathlib.Path("/opt/holoscan/app/x").touch())
attempt("run", lambda: pathlib.Path("/run/x").touch())
attempt("input", lambda: pathlib.Path("/var/holoscan/input/x").touch())
attempt("root", lambda: os.setuid(0))
attempt("tmp", lambda: pathlib.Path("/tmp/x").touch())
said["interfaces"] = [name for _, name in socket.if_nameindex()]
said["images"] = len(list(pathlib.Path("/var/holoscan/input").rglob("*.dcm")))
said["status"] = pathlib.Path("/proc/self/status").read_text()
said["user"] = os.getuid()
children = 0
try:
    while children < 2000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        children += 1
except OSError:
    pass
said["children"] = children
out = pathlib.Path(os.environ["HOLOSCAN_OUTPUT_PATH"])
(out / "deep").mkdir(mode=0o700)
(out / "deep" / "said.json").write_text(json.dumps(said))
(out / "link").symlink_to("/etc/shadow")
print("the reason")
sys.exit(7)
"""


@pytest.fixture(scope="module", autouse=True)
def image(packed):  # noqa: F811
    """The nodule application's image; whoever cannot build one has to know it. At the end only caches stay."""
    try:
        made = rk.deploy.build_image(packed, tag="localhost/radkit-test:nodule", progress=False)
    except DeployError as error:
        if os.environ.get("RADKIT_EXPECT_NO_IMAGE") == "1":
            pytest.skip(f"no image here, as expected: {error}")
        raise
    yield made
    ours = ask("podman", "images", "-q", "--filter=reference=localhost/radkit-test") or ""
    ask("podman", "rmi", *set(ours.split()))
    assert not ask("podman", "images", "-q", "--filter=reference=localhost/radkit-test") and not left()


@pytest.fixture(scope="module")
def stuck(bundle, tmp_path_factory):  # noqa: F811
    """An image whose application does not end."""
    code = "import time; print('started', flush=True); time.sleep(600)"
    made = fake_map(tmp_path_factory.mktemp("stuck"), bundle, code)
    return rk.deploy.build_image(made, tag="localhost/radkit-test:stuck", progress=False).reference


@pytest.fixture(scope="module")
def kept(image):
    """What tells about the image: its configuration and history."""
    return subprocess.run(["podman", "inspect", image.reference], capture_output=True, text=True, check=True).stdout


def left() -> list[str]:
    """Containers of builds and runs that are still there."""
    said = ask("podman", "ps", "-a", "--external", "--format", "{{.Names}}") or ""
    return [name for name in said.split() if name.startswith("radkit-")]


def test_the_image_is_what_the_specification_asks(image, kept):
    (told,) = json.loads(kept)
    config = told["Config"]
    assert (config["User"], config["Entrypoint"]) == ("1000:1000", ["/var/holoscan/tools"])
    assert config["WorkingDir"] == "/var/holoscan"
    assert "HOLOSCAN_INPUT_PATH=/var/holoscan/input/" in config["Env"]
    assert config["Labels"]["org.opencontainers.image.title"]
    assert image.size.endswith("GB") and image.seconds > 0
    assert not left()


def test_the_image_does_not_tell_where_its_packages_came_from(image, kept):
    said = ask(sys.executable, "-m", "pip", "config", "list") or ""
    words = {word for line in said.splitlines() for word in line.partition("=")[2].strip("'\"").split()}
    addresses = sorted(word for word in words if "/" in word and not word.endswith(".crt"))
    assert not [address for address in addresses if address in kept]
    places = "/etc /opt /var /root /run /usr/local/bin"
    search = " ".join(["grep -rIlF", *(f"-e {address}" for address in addresses), places])
    files = "find /run/pip /run/secrets /var/cache/pip ~root/.cache /etc/pip.conf /etc/apt/sources.list -type f"
    box = ["podman", "run", "--rm", "--network=none", "--ulimit=nproc=4096", "--ulimit=nofile=4096", "--user=0"]
    words = [*box, "--entrypoint=/bin/sh", image.reference, "-c", f"echo looking; {search}; {files}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout == "looking\n", done.stdout + done.stderr


def test_folder_image_and_plain_monai_give_the_same_voxels(image, packed, bundle, chest, tmp_path):  # noqa: F811
    boxed = rk.deploy.run_map(image, chest, tmp_path / "boxed", progress=False)
    placed = rk.deploy.run_map(packed, chest, tmp_path / "placed", progress=False)
    volume = rk.dicom.read_series(chest / "ct")
    found = rk.model.find_nodules(volume, rk.model.load_bundle(bundle, trust=True), progress=False)
    assert found.array.max() == 2
    assert [p.name for p in boxed.outputs] == [p.name for p in placed.outputs]
    for run in (boxed, placed):
        (file,) = (path for path in run.outputs if path.name == "segmentation.dcm")
        assert np.array_equal(rk.results.read_segmentation(dcmread(file), like=volume).array, found.array)
    assert boxed.result == placed.result
    assert boxed.log == tmp_path / "boxed.log" and boxed.log.stat().st_size
    assert {path.stat().st_uid for path in boxed.outputs} == {os.getuid()}


def test_the_box_is_locked_and_tells_the_exit_status(image, bundle, chest, tmp_path):  # noqa: F811
    hostile = rk.deploy.build_image(fake_map(tmp_path / "lock", bundle, LOCK), tag="localhost/radkit-test:lock")
    private = shutil.copytree(chest, tmp_path / "private")
    for path in (private, *private.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    with pytest.raises(DeployError, match=r"exit status 7(.|\n)*the reason"):
        rk.deploy.run_map(hostile.reference, private, tmp_path / "out", progress=False)
    said = json.loads((tmp_path / "out" / "deep" / "said.json").read_text())
    assert said["interfaces"] == ["lo"] and said["network"] == "Network is unreachable"
    for place in ("application", "run", "input"):
        assert said[place] == "Read-only file system"
    assert (said["root"], said["tmp"], said["user"]) == ("Operation not permitted", "done", 1000)
    assert "CapBnd:\t0000000000000000" in said["status"] and "NoNewPrivs:\t1" in said["status"]
    assert 100 < said["children"] < 512
    assert said["images"] == len(list(chest.rglob("*.dcm")))
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["deep", "said.json"]  # and not the link
    assert {path.stat().st_uid for path in (tmp_path / "out").rglob("*")} == {os.getuid()}
    assert not left() and not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("how", ["time limit", "killed"])
def test_a_container_that_does_not_end_is_killed_and_leaves_nothing(stuck, chest, clock, tmp_path, how):  # noqa: F811
    log = tmp_path / "out.log"
    if how == "time limit":
        clock(lambda: log.exists() and "started" in log.read_text())
        with pytest.raises(DeployError, match="had not ended after 3 s"):
            rk.deploy.run_map(stuck, chest, tmp_path / "out", timeout=3, progress=False)
        assert log.read_text().startswith("started\n")
    else:
        words = [stuck, str(chest), str(tmp_path / "out")]
        code = f"import radkit as rk; rk.deploy.run_map(*{words}, progress=False)"
        starter = subprocess.Popen([sys.executable, "-c", code])
        assert wait_until(lambda: log.exists() and "started" in log.read_text())
        starter.kill()
        starter.wait()
    assert wait_until(lambda: not left())
    assert wait_until(lambda: sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.log"])
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_image_no_container_and_no_process(image, packed, tmp_path, end):  # noqa: F811
    copy = shutil.copytree(packed, tmp_path / "map")
    with (copy / "requirements.txt").open("a") as file:
        file.write(f"# another one, made at {time.time_ns()}\n")
    before = ask("podman", "images", "-q", "--no-trunc")
    tag = f"localhost/radkit-test:{end}"
    code = f"import radkit as rk; rk.deploy.build_image({str(copy)!r}, tag={tag!r}, progress=False)"
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    log = tmp_path / "map.image.log"
    assert wait_until(lambda: log.exists() and "Collecting" in log.read_text())
    child.send_signal(end)
    assert child.wait(240) != 0
    assert wait_until(lambda: not left())
    assert wait_until(lambda: "radkit-build" not in (ask("ps", "-eo", "args") or ""))
    assert ask("podman", "images", "-q", "--no-trunc") == before
    assert wait_until(lambda: not [path for path in (cache_folder() / "images").iterdir() if path.is_dir()])


def test_a_build_waits_for_the_end_of_another(packed, capsys):  # noqa: F811
    tag = "localhost/radkit-test:second"
    second = threading.Thread(target=rk.deploy.build_image, args=(packed,), kwargs={"tag": tag})
    with alone(cache_folder() / "images" / "lock"):
        second.start()
        assert wait_until(lambda: "waiting for its end" in capsys.readouterr().out)
        assert not ask("podman", "images", "-q", tag)
    second.join(600)
    assert ask("podman", "images", "-q", tag)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is root's to make")
def test_a_full_disk_is_said(packed, tmp_path, monkeypatch):  # noqa: F811
    (disk := tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], check=True)
    try:
        store = f'[storage]\ndriver = "vfs"\ngraphroot = "{disk}/root"\nrunroot = "{disk}/run"\n'
        (tmp_path / "storage.conf").write_text(store)
        monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
        with pytest.raises(DeployError, match="The disk is full"):
            rk.deploy.build_image(packed, tool="podman", tag="localhost/radkit-test:full", progress=False)
        assert ask("podman", "images", "-q") == ""
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_what_cannot_be_built_or_run_is_said(packed, chest, tmp_path, monkeypatch):  # noqa: F811
    with pytest.raises(DeployError, match="no MAP folder"):
        rk.deploy.build_image(tmp_path)
    with pytest.raises(DeployError, match="know no image of that name"):
        rk.deploy.run_map("localhost/nothing:1", chest, tmp_path / "out")
    with pytest.raises(DeployError, match="cannot be pulled"):
        rk.deploy.build_image(packed, base="localhost/nothing:1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match="apt-get install buildah"):
        rk.deploy.build_image(packed)
