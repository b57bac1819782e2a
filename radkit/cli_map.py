"""``radkit map``: build, check, look into and run a MAP (MONAI Application Package)."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
PATH = click.Path(path_type=Path)
MAP = click.argument("folder", metavar="MAP", type=FOLDER)


@click.group("map")
def map_() -> None:
    """Build, check, look into and run a MAP, an application with its model."""


@map_.command()
@click.argument("app", required=False, type=FOLDER)
@click.option("--model", type=FOLDER, help="The bundle (default: the lung nodule bundle that comes with radkit).")
@click.option("--out", default="map", show_default=True, type=PATH, help="Where the MAP folder goes.")
@click.option("--overwrite", is_flag=True, help="Replace a MAP that is there already.")
@click.option("--official", is_flag=True, help="Also make an image of it by the official packager, holoscan-cli.")
def build(app: Path | None, model: Path | None, out: Path, overwrite: bool, official: bool) -> None:
    """Write a MAP folder.

    APP is the folder of an application (default: the lung nodule application that comes with radkit). Such as `radkit
    map build --out map`, and then `radkit map run map IN OUT`.
    """
    from .deploy import build_map
    from .deploy.package import build_official

    if sys.stdout.isatty():
        click.echo("Packing the application and its model.", err=True)
    click.echo(f"wrote {build_map(out, app=app, bundle=model, overwrite=overwrite)}")
    if official:
        click.echo(f"built {build_official(out)}")


@map_.command()
@click.argument("path", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--try-entry", is_flag=True, help="Run a folder's entry script, once trusted: does it tell a failure?")
def lint(path: Path, as_json: bool, try_entry: bool) -> None:
    """Check a MAP against MAP 1.0 and the known traps.

    PATH is a MAP folder or an image (OCI layout, tar). Exit status 1 on any error.
    """
    from .deploy import lint_map

    found = lint_map(path, try_entry=try_entry)
    click.echo(json.dumps([asdict(note) for note in found], indent=2) if as_json else found)
    sys.exit(any(note.level == "error" for note in found))


@map_.command()
@MAP
@click.option("--tool", type=click.Choice(["docker", "podman", "buildah"]), help="Default: the first that works.")
@click.option("--tag", help="Name of the image (default: localhost/FOLDER:VERSION).")
@click.option("--base", help="Image with Python and pip to build upon (default: the Dockerfile's, or Debian's).")
def image(folder: Path, tool: str | None, tag: str | None, base: str | None) -> None:
    """Build the OCI image of a MAP; buildah needs no daemon for it."""
    from .deploy import build_image

    built = build_image(folder, tool=tool, tag=tag, base=base, progress=sys.stdout.isatty())
    click.echo(f"built {built.reference} with {built.tool}: {built.size}, {built.seconds:g} s")


@map_.command()
@click.argument("folder", metavar="MAP", type=PATH)
@click.argument("source", metavar="IN", type=FOLDER)
@click.argument("output", metavar="OUT", type=PATH)
@click.option("--timeout", type=click.FloatRange(0), default=600.0, show_default=True,
              help="Seconds until the application is stopped; 0: never.")  # fmt: skip
@click.option("--without-sdk", is_flag=True, help="The same steps without MONAI Deploy's SDK.")
def run(folder: Path, source: Path, output: Path, timeout: float, without_sdk: bool) -> None:
    """Run a MAP on the DICOM files in IN; OUT is a new folder.

    MAP is a folder, or the name of an image. Such as `radkit map run map study results`. Exit status: that of the
    application (the lung nodule application: 0 done, 1 failed, 2 input refused), 124 if it was stopped.
    """
    from .deploy import run_map
    from .errors import DeployError

    try:
        done = run_map(folder, source, output, timeout=timeout, progress=sys.stdout.isatty(), sdk=not without_sdk)
    except DeployError as error:
        click.secho(f"Error: {error}", fg="red", err=True)
        if error.returncode is None:
            sys.exit(1)
        status = error.returncode
    else:
        click.echo("\n".join(map(str, done.outputs)) + f"\n{done.seconds:g} s")
        status = done.returncode
    result = output / "result.json"
    for entry in json.loads(result.read_text(encoding="utf-8")).get("series", []) if result.is_file() else []:
        if entry.get("reason"):
            click.echo(f"not taken: {entry['modality']} of {entry['images']} images: {entry['reason']}")
    if (log := output.absolute().with_name(f"{output.name}.log")).is_file():
        click.echo(f"log: {log}")
    sys.exit(status)


@map_.command()
@MAP
@click.argument("which", required=False, type=click.Choice(["app", "pkg"]))
def show(folder: Path, which: str | None) -> None:
    """Print the manifests of a MAP, by its own entry point."""
    _enter(folder, "show", *([which] if which else []))


@map_.command()
@MAP
def env(folder: Path) -> None:
    """Print the environment that the application gets."""
    _enter(folder, "env")


@map_.command()
@MAP
@click.argument("target", metavar="OUT", type=PATH)
def extract(folder: Path, target: Path) -> None:
    """Copy application, configuration, models, docs to OUT."""
    from .deploy.runner import read_command

    read_command(folder.absolute())  # of what is no MAP, no empty folder stays
    target.mkdir(parents=True, exist_ok=True)
    _enter(folder, "extract", HOLOSCAN_EXPORT_PATH=str(target.absolute()))


def _enter(folder: Path, *words: str, **settings: str) -> None:
    """Say what the entry point says, and end as it ends."""
    from .deploy.linting import entry_point

    done = entry_point(folder, *words, **settings)
    click.echo(done.stdout, nl=False)
    click.echo(done.stderr, nl=False, err=True)
    sys.exit(done.returncode)
