"""The linter of MAPs: our own folder passes, the official packager's shows the known disagreements, each rule bites."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import radkit as rk
from radkit.cli import main
from radkit.errors import DeployError

APP, PKG = "etc/holoscan/app.json", "etc/holoscan/pkg.json"
TITLE, VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"


def radkit(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A MAP folder of a small application and the bundle of the lessons; its model is no model, which nobody runs."""
    room = tmp_path_factory.mktemp("map")
    bundle = Path(__file__).resolve().parents[1] / "data" / "bundles" / "lung_nodule"
    shutil.copytree(bundle, room / "lung_nodule")
    (room / "lung_nodule" / "models" / "model.ts").write_bytes(b"a network")
    (room / "lung_nodule" / "models" / "model.pt").write_bytes(b"a network")
    (room / "app").mkdir()
    (room / "app" / "app.py").write_text(
        "import os, sys\nsys.exit(int(open(os.environ['HOLOSCAN_INPUT_PATH'] + '/n').read()))"
    )
    (room / "app" / "app.yaml").write_text("resources: {cpu: 1, memory: 1Gi}\n")
    answer = radkit("map", "build", room / "app", "--model", room / "lung_nodule", "--out", room / "map")
    assert answer.exit_code == 0, answer.output
    shutil.rmtree(room / "map" / "opt" / "holoscan" / "app" / "radkit")  # not looked at here, and slow to copy
    return room / "map"


def found(path, level=None, **options):
    return [(note.level, note.path) for note in rk.deploy.lint_map(path, **options) if level in (None, note.level)]


# --- what is right, and what the official packager makes


def test_our_own_folder_has_no_finding(made):
    notes = rk.deploy.lint_map(made, try_entry=True)
    assert notes == [], notes
    answer = radkit("map", "lint", made, "--json")
    assert (answer.exit_code, json.loads(answer.output)) == (0, [])


# holoscan-cli 4.2: where what is in its build context goes in the image.
WHERE = {
    "map": "etc/holoscan", "app": "opt/holoscan/app", "models": "opt/holoscan/models", "docs": "opt/holoscan/docs",
    "tools": "var/holoscan/tools", "app.config": "var/holoscan/app.yaml", "pip/requirements.txt": "requirements.txt",
    "Dockerfile": "Dockerfile",
}  # fmt: skip


def write_official(room: Path) -> Path:
    """A MAP folder by holoscan-cli's own classes, without docker."""
    pytest.importorskip("holoscan_cli", reason="holoscan-cli has no use where MONAI Deploy has no wheels")
    from holoscan_cli.packager import packager
    from holoscan_cli.packager.arguments import PackagingArguments
    from holoscan_cli.packager.container_builder import PythonAppBuilder
    from holoscan_cli.packager.package_command import create_package_parser

    for name, text in {"app/app.py": "", "models/net/model.ts": "net", "docs/README.md": "read me"}.items():
        (room / name).parent.mkdir(parents=True)
        (room / name).write_text(text)
    (
        room / "app.yaml"
    ).write_text("""application: {title: t, version: 1.2.3, input-formats: [file], output-formats: [file],
        pip-packages: ["monai==1.6.1"]}\nresources: {cpu: 1, memory: 4Gi}""")
    images = {
        "base-images": {"dgpu": "nvcr.io/nvidia/cuda:13.0.0"},
        "build-images": {"cpu": {}, "dgpu": {}, "igpu": {}},
    }
    release = {"holoscan": {"debian-version": "4.6.0", "wheel-version": "4.6.0", **images}}
    (room / "artifacts.json").write_text(json.dumps({"4.6.0": release}))
    parser = argparse.ArgumentParser()
    create_package_parser(parser.add_subparsers(), "package", [argparse.ArgumentParser(add_help=False)])
    options = {"config": "app.yaml", "models": "models", "docs": "docs", "source": "artifacts.json"}
    words = [word for name, file in options.items() for word in (f"--{name}", str(room / file))]
    words += ["--platform", "x86_64", "--sdk", "monai-deploy", "--tag", "t:1"]
    asked = PackagingArguments(parser.parse_args(["package", str(room / "app" / "app.py"), *words]), str(room))
    (target := room / "context").mkdir()
    packager._create_app_manifest(asked.application_manifest, str(target))
    packager._create_package_manifest(asked.package_manifest, str(target))
    builder = PythonAppBuilder(asked.build_parameters, str(target))
    builder._copy_supporting_files(asked.platforms[0])
    builder._write_dockerfile(asked.platforms[0])
    for start, place in WHERE.items():  # as the Dockerfile lays it out in the image
        if (target / start).exists():
            (room / "map" / place).parent.mkdir(parents=True, exist_ok=True)
            (target / start).rename(room / "map" / place)
    return room / "map"


def test_what_the_official_packager_makes_shows_the_known_disagreements_and_nothing_else(tmp_path):
    official = write_official(tmp_path)
    env = f"{APP}#environment.HOLOSCAN_"
    assert set(found(official)) == {
        ("error", f"{APP}#type"),
        ("error", f"{APP}#command"),
        ("error", f"{env}DOCS"),
        ("error", f"{env}LOGS"),
        ("error", f"{APP}#output.format"),
        ("error", f"{PKG}#models"),
        ("warning", f"{env}INPUT_PATH"),
        ("warning", f"{env}OUTPUT_PATH"),
        ("warning", "var/holoscan/tools"),
        ("note", f"{APP}#readiness"),
        ("note", f"{APP}#liveness"),
        ("note", f"{APP}#timeout"),
        ("note", f"{PKG}#platformConfig"),
    }
    assert radkit("map", "lint", official).exit_code == 1


@pytest.mark.skipif(shutil.which("jq") is None, reason="holoscan-cli's entry script needs jq")
def test_an_entry_script_that_hides_the_exit_status_is_caught_in_the_act(tmp_path):
    texts = [note.text for note in rk.deploy.lint_map(write_official(tmp_path), try_entry=True)]
    assert "tried: the application ended with exit status 7, the entry script with 0" in texts


# --- one mutation for each rule


def change(file, **values):
    """Set values at dotted keys (__ for the dot, None to take it away) of a JSON file."""

    def mutate(root):
        content = json.loads((root / file).read_text())
        for keys, value in values.items():
            *above, last = keys.split("__")
            place = content
            for key in above:
                place = place[key]
            place.pop(last) if value is None else place.update({last: value})
        (root / file).write_text(json.dumps(content))

    return mutate


def write(file, text, mode=0o644):
    def mutate(root):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
        (root / file).chmod(mode)

    return mutate


def replace(file, old, new):
    return lambda root: (root / file).write_text((root / file).read_text().replace(old, new))


TOOLS, IMAGE, MODEL = "var/holoscan/tools", "Dockerfile", "opt/holoscan/models/lung_nodule"
NET = "opt/holoscan/app/net"
A, P, T = "Application Manifest", "Package Manifest", "Table of Environment Variables"
ENV = f"{APP}#environment.HOLOSCAN"
RULES = [
    (lambda root: (root / APP).unlink(), "error", APP, A),
    (write(PKG, "{"), "error", PKG, P),
    (write(APP, "[" * 100_000), "error", APP, A),
    (write(APP, '{"command": ' + "[" * 900 + "]" * 900 + "}"), "error", f"{APP}#command", A),
    (write(APP, "[]"), "error", APP, A),
    (change(APP, type="batch"), "error", f"{APP}#type", A),
    (change(APP, command='["python3"]'), "error", f"{APP}#command", A),
    (change(APP, command=["python3"]), "error", f"{APP}#command", A),
    (change(APP, apiVersion=1.0), "error", f"{APP}#apiVersion", A),
    (change(APP, timeout="600"), "error", f"{APP}#timeout", A),
    (change(APP, timeout=0), "note", f"{APP}#timeout", A),
    (change(APP, timeout=None), "note", f"{APP}#timeout", A),
    (change(APP, workingDirectory="var"), "error", f"{APP}#workingDirectory", A),
    (change(APP, input__formats=None), "error", f"{APP}#input.formats", A),
    (change(APP, output={"formats": ["file"]}), "error", f"{APP}#output.format", A),
    (change(APP, readiness={"type": "ping"}), "error", f"{APP}#readiness.type", A),
    (change(APP, readiness={"type": "tcp"}), "error", f"{APP}#readiness.port", A),
    (change(APP, liveness={"type": "command"}), "error", f"{APP}#liveness.command", A),
    (change(APP, **{"working-directory": "/"}), "error", APP, "Release Notes 1.0.0"),
    (change(APP, environment__HOLOSCAN_DOCS=None), "error", f"{ENV}_DOCS", T),
    (change(APP, environment__HOLOSCAN_DOCS_PATH=None), "note", f"{ENV}_DOCS_PATH", "holoscan-cli 4.2"),
    (change(APP, environment__N=1), "error", f"{APP}#environment.N", T),
    (change(APP, environment__HOLOSCAN_APP_MANIFEST_PATH="/etc/holoscan/app.config"), "warning",
     f"{ENV}_APP_MANIFEST_PATH", T),
    (change(APP, environment__HOLOSCAN_CONFIG_PATH="/var/holoscan/x.yaml"), "warning",
     f"{ENV}_CONFIG_PATH", T),
    (change(APP, environment__MY_TOKEN="abc"), "warning", f"{APP}#environment", "Manifest Extraction"),
    (change(APP, environment__MONAI_INPUTPATH="/in"), "error", f"{APP}#environment", "Release Notes 1.0.0"),
    (change(APP, version="9.9.9"), "error", f"image#Labels.{VERSION}", "Image Annotations"),
    (change(PKG, applicationRoot=None), "error", f"{PKG}#applicationRoot", P),
    (change(PKG, models={"lung_nodule": "x"}), "error", f"{PKG}#models", P),
    (change(PKG, models=[{"path": "lung_nodule"}]), "error", f"{PKG}#models.0.name", P),
    (change(PKG, models=[]), "warning", MODEL, P),
    (change(PKG, models=[{"name": "two words", "path": "lung_nodule"}]), "error", f"{PKG}#models.0.name", P),
    (change(PKG, resources__cpu=0), "error", f"{PKG}#resources.cpu", P),
    (change(PKG, resources__cpu=3.14), "error", f"{PKG}#resources.cpu", P),
    (change(PKG, resources__cpu=9999), "warning", f"{PKG}#resources.cpu", P),
    (change(PKG, resources__memory="4GB"), "error", f"{PKG}#resources.memory", P),
    (change(PKG, resources__memoryLimit="512Mi"), "warning", f"{PKG}#resources.memoryLimit", P),
    (change(PKG, resources__gpuMemory="8Gi"), "warning", f"{PKG}#resources.gpu", P),
    (change(PKG, resources__fragments={"one": {"cpu": "2"}}), "error", f"{PKG}#resources.fragments.one.cpu", P),
    (change(PKG, platformConfig="dgpu"), "note", f"{PKG}#platformConfig", P),
    (write(f"{MODEL}/other.onnx", ""), "warning", MODEL, "MONAI Deploy App SDK 4"),
    (write("opt/holoscan/models/model.ts", ""), "warning", "opt/holoscan/models/model.ts", "MONAI Deploy App SDK 4"),
    (lambda root: shutil.rmtree(root / "opt/holoscan/app"), "error", "files", "Application"),
    (lambda root: shutil.rmtree(root / "opt/holoscan/docs"), "note", "files", "Supplemental Application Files"),
    (lambda root: (root / IMAGE).unlink(), "note", "image", "Manifests"),
    (replace(IMAGE, "USER 1000:1000", "USER root"), "warning", "image#User", "Compatible with Kubernetes"),
    (replace(IMAGE, "USER 1000:1000", ""), "warning", "image#User", "Compatible with Kubernetes"),
    (replace(IMAGE, TITLE, "title"), "error", f"image#Labels.{TITLE}", "Image Annotations"),
    (replace(IMAGE, "ENTRYPOINT", "# "), "error", "image", "Default Behavior"),
    (replace(IMAGE, ":3.11-slim-bookworm", ""), "warning", "image#From.0", "Self-Describing"),
    (replace(IMAGE, "WORKDIR", "ENV API_TOKEN=abc\nWORKDIR"), "warning", "image#Env.12", "Manifest Extraction"),
    (replace("requirements.txt", "numpy==", "numpy>="), "warning", "requirements.txt", "Self-Describing"),
    (replace(TOOLS, "extract", "get"), "error", TOOLS, "Self-Describing"),
    (write(TOOLS, "#!/bin/bash\n# show extract\n$COMMAND || true\n"), "warning", TOOLS, "holoscan-cli 4.2"),
    (write(f"{NET}.json", '"/home/anna/net"'), "warning", f"{NET}.json", "Local Execution"),
    (write(f"{NET}.py", "-----BEGIN RSA PRIVATE KEY-----"), "warning", f"{NET}.py", "Manifest Extraction"),
    (write("opt/holoscan/app/.netrc", "x", 0o644), "warning", "opt/holoscan/app/.netrc", "Manifest Extraction"),
    (lambda root: (root / NET).symlink_to("../../../../../etc/passwd"), "error", NET, "Single Artifact"),
    (lambda root: os.mkfifo(root / NET), "error", NET, "OCI Compliance"),
    (write("etc/monai/app.json", "{}"), "error", "etc/monai/app.json", "Release Notes 1.0.0"),
]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="no modes, no pipes, no links")
@pytest.mark.parametrize(("mutate", "level", "path", "clause"), RULES)
def test_each_rule_bites(made, tmp_path, monkeypatch, mutate, level, path, clause):
    monkeypatch.setenv("COLUMNS", "300")  # a narrow screen cuts a long path short
    root = Path(shutil.copytree(made, tmp_path / "map"))
    mutate(root)
    notes = rk.deploy.lint_map(root)
    assert (level, path, clause) in {(note.level, note.path, note.clause) for note in notes}, notes
    assert "abc" not in str(notes)  # nobody's secret
    assert all(note.text and path in str(notes) for note in notes) and "<table>" in notes._repr_html_()


def test_a_secret_that_only_its_owner_reads_is_no_finding(made, tmp_path):
    root = Path(shutil.copytree(made, tmp_path / "map"))
    write("opt/holoscan/app/.netrc", "x", 0o600)(root)
    assert found(root) == []


# --- images


def layer(files: dict[str, bytes | None], *, packed=True, raw=()) -> bytes:
    """A layer as bytes: files, None for a symbolic link to nowhere, and members as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
        for member in raw:
            tar.addfile(member)
    return gzip.compress(buffer.getvalue(), 1) if packed else buffer.getvalue()


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def write_image(folder: Path, *layers: bytes, **config) -> Path:
    """An OCI image layout (image-spec 1.0)."""
    (blobs := folder / "blobs" / "sha256").mkdir(parents=True)

    def keep(content) -> dict[str, str]:
        name = f"{len(list(blobs.iterdir())):064x}"  # nobody here looks whether it is the checksum
        (blobs / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return {"digest": f"sha256:{name}"}

    labels = {TITLE: "t", VERSION: rk.__version__}
    settings = {"User": "1000", "Entrypoint": ["/var/holoscan/tools"], "Labels": labels, **config}
    image = keep({"config": keep({"config": settings}), "layers": [keep(content) for content in layers]})
    (folder / "index.json").write_text(json.dumps({"manifests": [image]}))
    return folder


def test_an_image_is_read_layer_by_layer_and_whiteouts_take_away(made, tmp_path):
    whole = tree(made)
    assert found(write_image(tmp_path / "whole", layer(whole))) == []
    gone = {"etc/holoscan/.wh.pkg.json": b"", f"{MODEL}/.wh..wh..opq": b"", f"{MODEL}/new.ts": b"net"}
    image = write_image(tmp_path / "less", layer(whole, packed=False), layer(gone), User="0", Labels=None)
    assert set(found(image)) == {
        ("error", PKG),
        ("warning", f"{ENV}_PKG_MANIFEST_PATH"),
        ("error", f"image#Labels.{TITLE}"),
        ("error", f"image#Labels.{VERSION}"),
        ("warning", "image#User"),
    }


def test_images_of_a_real_builder_are_read(made, tmp_path):
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed: apt-get install buildah")
    recipe = f"""FROM scratch\nCOPY . /\nLABEL {TITLE}=t {VERSION}={rk.__version__}\nUSER 1000\n"""
    (tmp_path / "Containerfile").write_text(recipe + 'ENTRYPOINT ["/var/holoscan/tools"]')
    name, kinds = f"radkit-lint-{os.getpid()}", ("oci", "oci-archive", "docker-archive")
    for words in (
        ["bud", "--isolation", "chroot", "-q", "-t", name, "-f", tmp_path / "Containerfile", made],
        *(["push", "-q", name, f"{kind}:{tmp_path / kind}"] for kind in kinds),
        ["rmi", name],
    ):
        subprocess.run(["buildah", *words], check=True, capture_output=True)
    assert [found(tmp_path / kind) for kind in kinds] == [[], [], []]


def member(name="x", **values) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


def test_hostile_images_are_findings_and_nothing_is_written(tmp_path):
    huge = tarfile.TarInfo("x")
    huge.size = 2**40
    header = huge.tobuf(tarfile.GNU_FORMAT)
    bomb = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=2**30).tobuf(tarfile.GNU_FORMAT)
    layers = {
        "climbs": layer({}, raw=[member("../../evil"), member("/opt/../../evil")]),
        "loops": layer(
            {}, raw=[member("a", type=tarfile.SYMTYPE, linkname="a"), member(APP, type=tarfile.LNKTYPE, linkname=APP)]
        ),
        "ends too soon": layer({"x": b"y" * 5000})[:60],
        "a file larger than its layer": gzip.compress(header),
        "a name of a gigabyte": gzip.compress(bomb + bytes(2**25), 1),
        "zstd": b"\x28\xb5\x2f\xfd" + bytes(100),
        "noise": os.urandom(2000),
    }
    for number, (what, content) in enumerate(layers.items()):
        image = write_image(tmp_path / str(number) / "image", content)
        before = tree(tmp_path)
        assert ("error", APP) in found(image) or found(image, "error"), what
        assert any(note.clause == "OCI Compliance" for note in rk.deploy.lint_map(image)) or what == "loops", what
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"manifests": []}', '{"manifests": [{"digest": "sha256:../../etc"}]}', "[" * 99999]
)
def test_an_index_that_is_none_is_a_finding(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    assert ("error", tmp_path.name) in found(tmp_path)
    (tmp_path / "image.tar").write_text(text)
    assert ("error", "image.tar") in found(tmp_path / "image.tar")


def test_nothing_at_all_is_an_error_and_not_a_finding(tmp_path):
    with pytest.raises(DeployError, match="nothing at"):
        rk.deploy.lint_map(tmp_path / "nowhere")


# --- the commands


@pytest.mark.parametrize("command", ["build", "lint", "run", "show", "env", "extract"])
def test_every_command_explains_itself(command):
    answer = radkit("map", command, "--help")
    assert answer.exit_code == 0 and len(answer.output.splitlines()) >= 5


def test_the_entry_point_of_the_map_answers_by_the_command_line(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    assert json.loads(radkit("map", "show", made, "app").output)["type"] == "application"
    said = radkit("map", "env", made).output
    assert f"HOLOSCAN_MODEL_PATH={made}" in said and "secret" not in said
    assert radkit("map", "extract", made, tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "models" / "lung_nodule" / "model.ts").is_file()
    assert "no MAP folder" in radkit("map", "show", tmp_path).output


@pytest.mark.parametrize("status", [0, 1, 2, 7, 137])
def test_the_exit_status_of_the_application_is_that_of_the_command(made, tmp_path, status):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "n").write_text(str(status))
    answer = radkit("map", "run", made, tmp_path / "in", tmp_path / "out")
    assert answer.exit_code == status and f"log: {tmp_path / 'out.log'}" in answer.output


def test_a_run_that_is_stopped_ends_with_124_and_a_refusal_lists_the_series(made, tmp_path):
    root = Path(shutil.copytree(made, tmp_path / "map"))
    app, folder = root / "opt" / "holoscan" / "app" / "app.py", tmp_path / "in"
    folder.mkdir()
    app.write_text("import time; time.sleep(60)")
    assert radkit("map", "run", root, folder, tmp_path / "late", "--timeout", "1").exit_code == 124
    series = [{"modality": "MR", "images": 9, "reason": "not CT images", "chosen": False}]
    result = json.dumps({"status": "refused", "reason": "no series fits.", "series": series})
    app.write_text(
        f"import os; open(os.environ['HOLOSCAN_OUTPUT_PATH'] + '/result.json', 'w').write({result!r}); os._exit(2)"
    )
    answer = radkit("map", "run", root, folder, tmp_path / "out")
    assert answer.exit_code == 2 and "not taken: MR of 9 images: not CT images" in answer.output


def test_the_official_packager_is_not_called_where_something_is_missing(made, tmp_path, monkeypatch):
    from radkit.deploy.package import build_official

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("radkit.deploy.package.sys.executable", sys.executable)
    with pytest.raises(DeployError, match=r"docker daemon .*NVIDIA's base image .*radkit map image"):
        build_official(made)
