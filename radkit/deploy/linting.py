"""Check a MAP, as a folder or as an image, against MAP 1.0 and what is known of the tools that read it."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .._optional import optional
from ..dicom.table import Table, clean, counted
from ..errors import DeployError
from .runner import INSIDE, read_command
from .unpacking import Contents, read_contents

LEVELS = ("error", "warning", "note")
MANIFESTS = ("etc/holoscan/app.json", "etc/holoscan/pkg.json")
MODELS = "opt/holoscan/models/"
REQUIREMENTS = re.compile(r"(opt/holoscan/app/|tmp/)?requirements[^/]*\.txt")


@dataclass(frozen=True)
class Note:
    """One finding: its level, where it is, the clause of MAP 1.0 or the tool that it is about, and what is wrong."""

    level: str
    path: str
    clause: str
    text: str


class _Findings(Table):
    columns = ("level", "where", "clause")


class Notes(list[Note]):
    """Findings, errors first: a table in a terminal and in a notebook."""

    @property
    def table(self) -> Table:
        """One row for each and its text below, and how many there are of each level."""
        counts = [counted(sum(note.level == level for note in self), level) for level in LEVELS]
        rows = [row for note in self for row in ((note.level, note.path, note.clause), note.text)]
        return _Findings(", ".join(counts), rows)

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def lint_map(path: str | Path, *, try_entry: bool = False) -> Notes:
    """Check a MAP against the specification and against what is known of packager, SDK and hosts.

    Parameters
    ----------
    path : path
        A MAP folder, an OCI image layout (folder or tar) or a tar from ``docker save`` or ``podman save``. Nothing is
        unpacked to disk, and nothing in it is run.
    try_entry : bool
        Do run the entry script of a folder, with an application that only exits 7: what comes out? The script is code
        of whoever made the MAP: only for one that you trust.

    Returns
    -------
    list of Note
        Errors (the specification says MUST, SHALL or Required) first, then warnings (a tool will trip), then notes.

    Raises
    ------
    DeployError
        If there is nothing at ``path``. What is there and cannot be read is a finding.

    References
    ----------
    MAP 1.0: github.com/Project-MONAI/monai-deploy, guidelines/monai-application-package.md.
    """
    path = Path(path)
    if not path.exists():
        raise DeployError(f"There is nothing at {path}: name a MAP folder or an image.")
    has = Contents()
    try:
        read_contents(path, has)
    except Exception as error:  # whatever hostile bytes can make of gzip, tar and JSON: the finding is the answer
        has.wrong.append((path.name, f"cannot be read to its end ({type(error).__name__}): {error}"))
    notes = [Note("error", clean(name), "OCI Compliance", clean(text)) for name, text in has.wrong]
    described = _describe(has)
    try:
        notes += [Note(*map(clean, found)) for judge in (_judge, _compare) for found in judge(described)]
    except RecursionError:
        notes.append(Note("error", path.name, "Manifests", "a manifest is nested too deeply to be read"))
    command = str(_object(described.get(MANIFESTS[0])).get("command"))
    if try_entry and (status := _exit_status(path, command)) != 7:
        text = f"tried: the application ended with exit status 7, the entry script with {status}"
        notes.append(Note("warning", "var/holoscan/tools", "holoscan-cli 4.2", text))
    return Notes(sorted(dict.fromkeys(notes), key=lambda note: LEVELS.index(note.level)))


def _describe(has: Contents) -> dict[str, Any]:
    """The MAP as one document, which the schema judges."""
    described: dict[str, Any] = {"files": {}, "models": {}, "requirements": {}}
    files, models = described["files"], described["models"]
    if has.config is not None:
        described["image"] = has.config
    for path, file in has.files.items():
        text = file.data.decode("utf-8", "replace")
        shown = text[: 2**16] if path.endswith("/tools") else text  # its patterns take time by the square of its length
        files[path] = {"public": bool(file.mode & 0o004), "text": shown}
        target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), file.link))
        if file.link and "holoscan/" in path:
            files[path]["link"] = "inside" if INSIDE.match(target) or target[1:] in has.files else file.link
        if path.startswith(MODELS):
            name, _, rest = path[len(MODELS) :].partition("/")
            models[MODELS + name] = [*models.get(MODELS + name, []), rest] if rest else name
        if REQUIREMENTS.fullmatch(path):
            lines = (line.partition("#")[0].strip() for line in text.splitlines())
            described["requirements"][path] = [line for line in lines if line]
        if path in MANIFESTS:
            try:
                described[path] = json.loads(file.data.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                described[path] = f"unreadable: {error}"
    return described


def _judge(described: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Where the document departs from the schema."""
    schema = yaml.safe_load(Path(__file__).with_name("map_rules.yaml").read_text(encoding="utf-8"))
    form = optional("jsonschema").FormatChecker(())
    form.checks("tenth")(lambda value: not isinstance(value, float) or round(value, 1) == value)
    for error in optional("jsonschema").Draft202012Validator(schema, format_checker=form).iter_errors(described):
        node, clause, rule = schema, schema["clause"], error.schema
        for step in error.absolute_schema_path:
            node = node[step]
            clause = node.get("clause", clause) if isinstance(node, dict) else clause
        top, *below = [str(key) for key in error.absolute_path] or [""]
        said = str(error.instance).partition("=")[0] if "secret" in rule else error.instance
        came = "" if top == "files" or [top, *below] == ["image"] else f"is {clean(json.dumps(said), 60)}: "
        if error.validator == "required":
            name = next(name for name in error.validator_value if repr(name) in error.message)
            top, *below = [*map(str, error.absolute_path), name]
            came, rule = "is missing: ", rule["properties"][name]
            rule = rule if "says" in rule else rule["allOf"][0]
        where = below[0] if top in ("files", "models", "requirements") and below else "#".join([top, ".".join(below)])
        yield rule.get("level", "error"), where.strip("#"), rule.get("clause", clause), f"{came}expected {rule['says']}"


def _compare(described: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """What one part of a MAP says of another."""
    app, pkg = (_object(described.get(name)) for name in MANIFESTS)
    labels, name = _object(_object(described.get("image")).get("Labels")), "org.opencontainers.image.version"
    if app and name in labels and labels[name] != app.get("version"):
        yield "error", f"image#Labels.{name}", "Image Annotations", f"is {labels[name]}, not the version of app.json"
    for name, value in _object(app.get("environment")).items():
        if name.endswith(("CONFIG_PATH", "MANIFEST_PATH")) and str(value).strip("/") not in described["files"]:
            where = f"{MANIFESTS[0]}#environment.{name}"
            yield "warning", where, "Table of Environment Variables", f"{value} is not there"
    if pkg and isinstance(listed := pkg.get("models", []), list):
        root = "/" + str(pkg.get("modelRoot", MODELS)).strip("/")
        paths = [str(model.get("path", model.get("name"))) for model in listed if isinstance(model, dict)]
        named = {posixpath.join(root, path).strip("/") for path in paths}
        for path in sorted(named ^ set(described["models"])):
            text = "is listed in models and not there" if path in named else "is not listed in models"
            yield "warning", path, "Package Manifest", text
    asked = _object(pkg.get("resources"))
    for part in map(_object, (asked, *_object(asked.get("fragments")).values())):
        for name in part:
            if name.endswith("Limit") and _amount(part[name]) < _amount(part.get(name[:-5])):
                where = f"{MANIFESTS[1]}#resources.{name}"
                yield "warning", where, "Package Manifest", f"is less than {name[:-5]} itself"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _amount(value: Any) -> float:
    """Cores, or memory in Mi; 0 for what is neither."""
    found = re.match(r"(\d+(?:\.\d+)?)(Gi)?", str(value))
    return float(found[1]) * (1024 if found[2] else 1) if found else 0


def entry_point(folder: str | Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the MAP's own entry point with nothing but the environment of its manifest, its paths led to ``folder``."""
    root = Path(folder).absolute()
    return _call(root, *words, **{**read_command(root)[1], **settings})


def _call(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    tools = root / "var" / "holoscan" / "tools"
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    try:
        shell = sys.executable if b"python" in tools.read_bytes().partition(b"\n")[0] else "bash"
        command = [shell, str(tools), *words]
        return subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeployError(f"The entry script {tools} cannot be run: {type(error).__name__}: {error}") from error


def _exit_status(root: Path, command: str) -> int:
    """With which status the entry script ends when the application, in place of ``command``, ends with 7."""
    with tempfile.TemporaryDirectory() as room:
        app, new = Path(room, "seven.py"), Path(room, "app.json")
        app.write_text("raise SystemExit(7)")
        words = [sys.executable, str(app)]  # holoscan-cli's script wants JSON in the string
        new.write_text(json.dumps({"command": json.dumps(words) if command.startswith("[") else shlex.join(words)}))
        return _call(root, HOLOSCAN_APP_MANIFEST_PATH=str(new), HOLOSCAN_WORKDIR=room).returncode
