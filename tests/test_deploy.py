"""The MAP: laid out by the specification, run in place with a true exit status, the same voxels by every way."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from highdicom import Volume
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydicom import dcmread
from scipy.spatial.transform import Rotation

import radkit as rk
from radkit.data.ct import write_ct_series
from radkit.deploy.package import REQUIREMENTS
from radkit.errors import DeployError

ROOT = Path(__file__).resolve().parents[1]


def has_sdk() -> bool:
    try:
        return bool(version("monai-deploy-app-sdk"))
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The bundle's own way of inference with a network that any machine has at once: what is above -700 HU."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("bundles") / "lung_nodule"
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True)
    for name in ("inference.json", "metadata.json"):
        real = ROOT / "data" / "bundles" / "lung_nodule" / "configs" / name
        (folder / "configs" / name).write_bytes(real.read_bytes())
    (folder / "configs" / "train.json").write_text("{}")
    (folder / "LICENSE").write_text("none")
    (folder / "docs" / "README.md").write_text("a threshold")
    (folder / "models" / "model.pt").write_bytes(b"")

    class Threshold(torch.nn.Module):
        def forward(self, image: torch.Tensor):
            return (image + 0.57) * 100

    torch.jit.script(Threshold()).save(str(folder / "models" / "model.ts"))
    return folder


@pytest.fixture(scope="session")
def chest(tmp_path_factory):
    """A chest of 24 slices with a nodule in the left lung and a smaller one in the right, beside a scout view.

    Its slices are tilted and its pixels not square: what is put on the wrong axis does not come back as it was.
    """
    z, y, x = np.indices((24, 96, 96))
    hu = np.full(z.shape, -1000, np.int16)
    hu[((y - 48) / 40) ** 2 + ((x - 48) / 46) ** 2 < 1] = 40
    for centre in (26, 70):
        hu[((z - 12) / 10) ** 2 + ((y - 48) / 28) ** 2 + ((x - centre) / 15) ** 2 < 1] = -850
    for k, j, i, radius in ((12, 50, 72, 9), (10, 40, 26, 6)):
        hu[((z - k) * 2.5) ** 2 + ((y - j) * 2) ** 2 + ((x - i) * 2) ** 2 < radius**2] = 30
    affine = np.array([[0, 0, 2.0, -96], [0, 1.8, 0, -96], [2.5, 0, 0, -30], [0, 0, 0, 1]])
    affine[:3, :3] = Rotation.from_euler("xyz", [8, -5, 3], degrees=True).as_matrix() @ affine[:3, :3]
    folder = tmp_path_factory.mktemp("chest")
    files = write_ct_series(Volume(hu, affine, coordinate_system="PATIENT"), folder / "ct")
    scout = dcmread(files[0])
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.SeriesInstanceUID, scout.SOPInstanceUID = "1.2.3.1", "1.2.3.2"
    scout.file_meta.MediaStorageSOPInstanceUID = "1.2.3.2"
    scout.save_as(folder / "scout.dcm")
    return folder


@pytest.fixture(scope="session")
def packed(bundle, tmp_path_factory):
    return rk.deploy.build_map(tmp_path_factory.mktemp("maps") / "nodule", bundle=bundle)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fake_map(folder: Path, bundle: Path, code: str) -> Path:
    """A MAP whose application is ``code``."""
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "app.py").write_text(code)
    (folder / "app" / "app.yaml").write_text("resources: {cpu: 1}\n")
    return rk.deploy.build_map(folder / "map", app=folder / "app", bundle=bundle)


# --- the folder


def test_the_manifests_hold_what_the_specification_demands(packed):
    app, package = (json.loads((packed / "etc" / "holoscan" / f"{name}.json").read_text()) for name in ("app", "pkg"))
    assert app["type"] == "application"
    assert isinstance(app["command"], str) and not app["command"].startswith("[")
    assert app["input"]["formats"] == ["file"] and app["output"]["format"] == "file"
    assert package["models"] == [{"name": "lung_nodule", "path": "lung_nodule"}]
    assert package["applicationRoot"] == "/opt/holoscan/app/"
    for path in (*app["environment"].values(), package["applicationRoot"], package["modelRoot"]):
        if "input" not in path and "output" not in path:
            assert (packed / path.lstrip("/")).exists(), path
    (model,) = (packed / "opt" / "holoscan" / "models").iterdir()
    assert [p.name for p in model.iterdir()] == ["model.ts"]  # the SDK takes no second file


def test_the_same_inputs_give_the_same_files_and_none_names_this_machine(packed, bundle, tmp_path):
    again = tree(rk.deploy.build_map(tmp_path / "again", bundle=bundle))
    assert again == tree(packed)
    assert not [name for name, content in again.items() if str(ROOT).encode() in content]
    assert not [name for name in again if name.endswith(".pyc")]


def test_a_map_is_replaced_only_when_asked_and_nothing_else_ever(packed, bundle, tmp_path):
    target = rk.deploy.build_map(tmp_path / "map", bundle=bundle)
    (target / "mark").touch()
    with pytest.raises(DeployError, match="overwrite=True"):
        rk.deploy.build_map(target, bundle=bundle)
    assert (target / "mark").exists()
    rk.deploy.build_map(target, bundle=bundle, overwrite=True)
    assert tree(target) == tree(packed)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(DeployError, match="no MAP folder"):
        rk.deploy.build_map(tmp_path / "mine", bundle=bundle, overwrite=True)


def test_a_build_that_fails_leaves_the_old_map_and_no_rubbish(bundle, tmp_path, monkeypatch):
    target = rk.deploy.build_map(tmp_path / "map", bundle=bundle)
    before = tree(target)
    monkeypatch.setattr("radkit.deploy.package._dockerfile", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rk.deploy.build_map(target, bundle=bundle, overwrite=True)
    assert tree(target) == before
    assert [p.name for p in tmp_path.iterdir()] == ["map"]


def test_an_application_without_its_parts_is_refused(bundle, tmp_path):
    with pytest.raises(DeployError, match=r"lacks app.py and app.yaml"):
        rk.deploy.build_map(tmp_path / "map", app=tmp_path, bundle=bundle)


# --- the entry point


def tools(map_folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    manifest = json.loads((map_folder / "etc" / "holoscan" / "app.json").read_text())
    here = {name: str(map_folder / path.lstrip("/")) for name, path in manifest["environment"].items()}
    return subprocess.run(
        [sys.executable, map_folder / "var" / "holoscan" / "tools", *words],
        capture_output=True, text=True, env={**os.environ, **here, **environment},
    )  # fmt: skip


def test_the_entry_point_shows_and_extracts_what_the_map_holds(packed, tmp_path):
    assert json.loads(tools(packed, "show", "pkg").stdout)["modelRoot"] == "/opt/holoscan/models/"
    assert set(json.loads(tools(packed, "show").stdout)) == {"app", "pkg"}
    assert "HOLOSCAN_MODEL_PATH=" in tools(packed, "env").stdout
    done = tools(packed, "extract", HOLOSCAN_EXPORT_PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "config").iterdir()) == ["app.json", "app.yaml", "pkg.json"]
    assert (tmp_path / "models" / "lung_nodule" / "model.ts").is_file()
    (only := tmp_path / "only" / "docs").mkdir(parents=True)
    tools(packed, "extract", HOLOSCAN_EXPORT_PATH=str(only.parent))
    assert [p.name for p in only.parent.iterdir()] == ["docs"]


def test_the_entry_point_tells_a_wrong_word_from_a_right_one(packed):
    assert tools(packed, "help").returncode == 0
    assert tools(packed, "shwo").returncode == 64
    assert tools(packed, "extract", HOLOSCAN_EXPORT_PATH="/nowhere").returncode == 64


def test_the_exit_status_of_the_application_is_that_of_the_entry_point(bundle, tmp_path):
    failing = fake_map(tmp_path, bundle, "import sys; sys.exit(7)")
    manifest = failing / "etc" / "holoscan" / "app.json"
    content = json.loads(manifest.read_text())
    content["command"] = f"{sys.executable} {failing}/opt/holoscan/app/app.py"
    manifest.write_text(json.dumps(content))
    assert tools(failing).returncode == 7


# --- running


@pytest.fixture
def clock(monkeypatch):
    """Return a function that lets a run's clock stand still until something holds: a busy machine is long about it."""

    def stand_until(happened) -> None:
        start, real = time.monotonic(), time.monotonic
        late = SimpleNamespace(monotonic=lambda: real() if happened() else start, sleep=time.sleep)
        monkeypatch.setattr("radkit.deploy.runner.time", late)

    return stand_until


def test_a_failing_application_is_an_error_that_quotes_its_log(bundle, chest, tmp_path):
    failing = fake_map(tmp_path, bundle, "import sys; print('the reason'); sys.exit(7)")
    with pytest.raises(DeployError, match=r"exit status 7(.|\n)*the reason"):
        rk.deploy.run_map(failing, chest, tmp_path / "out")
    assert (tmp_path / "out.log").read_text() == "the reason\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_an_application_that_the_system_kills_is_told_to_lack_memory(bundle, chest, tmp_path):
    killed = fake_map(tmp_path, bundle, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(DeployError, match=r"killed from outside.*memory"):
        rk.deploy.run_map(killed, chest, tmp_path / "out")


@pytest.mark.slow
def test_an_application_that_does_not_end_is_killed_with_its_children(bundle, chest, tmp_path, clock):
    code = """
import shutil
import subprocess, sys, pathlib, os, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(os.environ["HOLOSCAN_OUTPUT_PATH"], "pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""
    pids = tmp_path / "out" / "pids"
    clock(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    with pytest.raises(DeployError, match="had not ended after 3 s"):
        rk.deploy.run_map(fake_map(tmp_path, bundle, code), chest, tmp_path / "out", timeout=3, progress=False)
    pids = pids.read_text().split()
    assert len(pids) == 2
    assert wait_until(lambda: not any(alive(int(pid)) for pid in pids))


def test_the_run_speaks_to_the_application_by_the_environment_of_the_specification(bundle, chest, tmp_path):
    code = """
import json, os, pathlib
out = pathlib.Path(os.environ["HOLOSCAN_OUTPUT_PATH"])
names = ["HOLOSCAN_INPUT_PATH", "HOLOSCAN_MODEL_PATH", "HOLOSCAN_CONFIG_PATH", "HOLOSCAN_WORKDIR"]
(out / "said.json").write_text(json.dumps({**{n: os.environ[n] for n in names}, "cwd": os.getcwd()}))
"""
    root = fake_map(tmp_path, bundle, code)
    before = tree(root)
    run = rk.deploy.run_map(root, chest, tmp_path / "out", progress=False)
    said = json.loads((tmp_path / "out" / "said.json").read_text())
    assert (run.returncode, run.outputs, run.result) == (0, [tmp_path / "out" / "said.json"], {})
    assert said["HOLOSCAN_INPUT_PATH"] == str(chest)
    assert Path(said["HOLOSCAN_MODEL_PATH"]) == root / "opt" / "holoscan" / "models"
    assert Path(said["cwd"]) == root / "var" / "holoscan"
    assert tree(root) == before  # a run leaves nothing in the MAP


def test_folders_that_are_not_what_they_should_be_are_refused(packed, chest, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.dcm").touch()
    with pytest.raises(DeployError, match="not empty"):
        rk.deploy.run_map(packed, chest, tmp_path / "full")
    with pytest.raises(DeployError, match="input folder"):
        rk.deploy.run_map(packed, tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(DeployError, match="no MAP folder"):
        rk.deploy.run_map(tmp_path, chest, tmp_path / "out")


@pytest.fixture(scope="session")
def ran(packed, chest, tmp_path_factory):
    """One run of the application as it is meant to run here."""
    return rk.deploy.run_map(packed, chest, tmp_path_factory.mktemp("run") / "out", progress=False)


@pytest.mark.slow
def test_the_segmentation_of_the_map_is_what_the_model_finds_voxel_for_voxel(ran, bundle, chest):
    images = chest / "ct"
    volume = rk.dicom.read_series(images)
    found = rk.model.find_nodules(volume, rk.model.load_bundle(bundle, trust=True), progress=False)
    assert found.array.max() == 2
    back = rk.results.read_segmentation(dcmread(ran.outputs[2]), like=volume)
    assert np.array_equal(back.array, found.array)
    assert back.geometry_equal(volume)


@pytest.mark.slow
def test_the_objects_of_the_map_are_valid_and_fit_their_images(ran, chest, errors_of):
    assert [p.name for p in ran.outputs] == ["report.dcm", "result.json", "segmentation.dcm"]
    report, segmentation = dcmread(ran.outputs[0]), dcmread(ran.outputs[2])
    assert rk.results.check([segmentation, report], chest / "ct") == []
    assert errors_of(segmentation) == errors_of(report) == []
    first, second = rk.results.read_report(report)
    assert first.volume_mm3 > second.volume_mm3 > 0
    assert [f["volume_mm3"] for f in ran.result["findings"]] == [first.volume_mm3, second.volume_mm3]


@pytest.mark.slow
def test_the_result_says_what_was_taken_what_was_not_and_who_ran_it(ran):
    expected = f"monai-deploy-app-sdk {version('monai-deploy-app-sdk')}" if has_sdk() else "plain"
    assert (ran.result["status"], ran.result["runner"]) == ("done", expected)
    left, taken = sorted(ran.result["series"], key=lambda series: series["chosen"])
    assert (left["chosen"], left["reason"]) == (False, "a localizer, not slices")
    assert (taken["chosen"], taken["images"]) == (True, 24)
    assert "RADKIT^" not in (ran.outputs[1]).read_text()


@pytest.mark.slow
@pytest.mark.skipif(not has_sdk(), reason="MONAI Deploy has no wheels for this platform: there is only the one way")
def test_without_the_sdk_the_same_bytes_come_out(ran, packed, chest, tmp_path):
    plain = rk.deploy.run_map(packed, chest, tmp_path / "out", sdk=False, progress=False)
    assert plain.result == {**ran.result, "runner": "plain"}
    for one, other in zip(plain.outputs, ran.outputs, strict=True):
        assert one.name == "result.json" or filecmp.cmp(one, other, shallow=False), one.name


@pytest.mark.slow
def test_an_input_that_is_no_chest_ct_is_refused_with_the_reason(packed, chest, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scout.dcm").write_bytes((chest / "scout.dcm").read_bytes())
    with pytest.raises(DeployError, match=r"refused its input: no series .*CT of 1 images: a localizer"):
        rk.deploy.run_map(packed, tmp_path / "in", tmp_path / "out", progress=False)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "refused"


@pytest.mark.slow
def test_a_model_that_is_cut_short_ends_the_run(packed, chest, tmp_path):
    broken = Path(shutil.copytree(packed, tmp_path / "map"))
    (model,) = broken.rglob("model.ts")
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(DeployError, match="exit status 1"):
        rk.deploy.run_map(broken, chest, tmp_path / "out", progress=False)
    assert json.loads((tmp_path / "out" / "result.json").read_text())["reason"].startswith("finding nodules")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_application_ends_when_its_starter_is_killed(packed, chest, tmp_path):
    code = "import sys, radkit as rk; rk.deploy.run_map(*sys.argv[1:], progress=False)"
    starter = subprocess.Popen([sys.executable, "-c", code, packed, chest, tmp_path / "out"])
    assert wait_until(lambda: [pid for guard in children(starter.pid) for pid in children(guard)])
    (application,) = (pid for guard in children(starter.pid) for pid in children(guard))
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert wait_until(lambda: not alive(application))
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
@pytest.mark.parametrize("step", ["choosing the series", "reading the volume"])
def test_an_application_that_is_told_to_end_leaves_no_half_output(packed, chest, tmp_path, step):
    code = "import sys, radkit as rk; rk.deploy.run_map(*sys.argv[1:], progress=False)"
    starter = subprocess.Popen([sys.executable, "-c", code, packed, chest, tmp_path / "out"], stderr=subprocess.PIPE)
    log = tmp_path / "out.log"
    assert wait_until(lambda: log.exists() and step in log.read_text(errors="replace"))
    os.kill(*children(starter.pid), signal.SIGTERM)
    assert starter.wait(240) == 1
    left = [p.name for p in (tmp_path / "out").iterdir()]
    assert left in ([], ["result.json"])
    assert not left or json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "failed"


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


def alive(pid: int) -> bool:
    said = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(said) and not said.startswith("Z")


def wait_until(happens, limit: float = 240) -> bool:
    deadline = time.monotonic() + limit
    while not (happened := happens()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(happened)


# --- what the image must bring


def test_the_packed_application_starts_with_nothing_but_its_requirements():
    """In an image there is nothing else: here, every package that the requirements do not bring is blocked."""
    brought, waiting = set(), [canonicalize_name(name) for name in REQUIREMENTS]
    while waiting:
        if (name := waiting.pop()) not in brought:
            brought.add(name)
            needs = map(Requirement, requires(name) or [])
            waiting += [canonicalize_name(n.name) for n in needs if not n.marker or n.marker.evaluate({"extra": ""})]
    homes = packages_distributions()
    others = {module for module in homes if not brought & {canonicalize_name(home) for home in homes[module]}}
    others -= {"radkit", "radkit_phantoms"}
    code = f"import sys; sys.modules |= dict.fromkeys({others}); import radkit.deploy.pipeline"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == 0 and "requests" in others, child.stderr
