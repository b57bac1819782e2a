"""The command line: ``radkit --help`` lists the commands; each has a ``--help`` of its own.

Tab completion: ``eval "$(_RADKIT_COMPLETE=bash_source radkit)"`` (or ``zsh_source``, ``fish_source``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from . import __version__
from .cli_map import map_
from .cli_pacs import pacs
from .errors import RadkitError


class Commands(click.Group):
    """A group that turns every RadkitError, and what a disk refuses, into one plain sentence and exit status 1."""

    def invoke(self, context: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(context)
        except BrokenPipeError:  # `| head` has read enough
            raise
        except (RadkitError, OSError) as error:
            text = (
                f"{error.filename}: {error.strerror}." if isinstance(error, OSError) and error.filename else str(error)
            )
            raise click.ClickException(text.replace("pass overwrite=True", "add --overwrite")) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Learn and prototype radiology AI: from a DICOM file to a result back in the archive."""


@main.command()
def doctor() -> None:
    """Say what this machine has, what it lacks, and how to mend it."""
    from .doctor import examine

    findings = examine()
    for finding in findings:
        click.secho("  ok  " if finding.ok else " lacks", fg="green" if finding.ok else "yellow", nl=False)
        click.echo(f" {finding.what}: {finding.text}")
    sys.exit(any(finding.needed and not finding.ok for finding in findings))


@main.command()
@click.argument("notebook", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--port", type=int, default=0, help="Port on 127.0.0.1 (default: a free one).")
@click.option("--browser/--no-browser", default=True, help="Open a browser (default: yes, where there is one).")
def lab(notebook: Path | None, port: int, browser: bool) -> None:
    """Open JupyterLab at NOTEBOOK (default: the first of the series)."""
    from .lab import start

    sys.exit(start(notebook or series()[0], port=port, browser=browser))


@main.command()
@click.argument("notebooks", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--jobs", default=2, show_default=True, help="How many notebooks run at a time.")
@click.option("--out", default="build/tour", show_default=True, type=click.Path(path_type=Path), help="Where to write.")
def tour(notebooks: tuple[Path, ...], jobs: int, out: Path) -> None:
    """Run the series (or NOTEBOOKS) headless; write one page of results."""
    from .tour import run

    stops = run(notebooks or series(), out, jobs=jobs)
    click.echo(f"wrote {out / 'index.html'}")
    failed = [stop for stop in stops if stop.error]
    for stop in failed:
        click.secho(f"{stop.source.name}: {stop.error}", fg="red", err=True)
    sys.exit(bool(failed))


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--problems", is_flag=True, help="Show only the series that something is wrong with.")
def scan(path: Path, problems: bool) -> None:
    """List the series under PATH, and what is wrong with each.

    Exit status 0 if there is any DICOM series, 1 if there is none.
    """
    from .dicom import scan as find_series

    found = find_series(path, progress=sys.stdout.isatty())
    click.echo(found.with_problems() if problems else found)
    sys.exit(not found.series)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("other", required=False, type=click.Path(path_type=Path))
@click.option("--search", default="", help="Only tags with this text in their number, keyword, name or value.")
def show(file: Path, other: Path | None, search: str) -> None:
    """List the tags of FILE, or in which tags FILE and OTHER differ."""
    from .dicom import compare, inspect

    click.echo(compare(file, other) if other else inspect(file, search=search))


def profile_options(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of an option of the profile."""
    from .dicom.profile import ALIASES, options_of_the_standard

    return [name for name in (*options_of_the_standard(), *ALIASES) if name.startswith(incomplete)]


@main.command()
@click.argument("source", metavar="IN", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--option", "options", multiple=True, shell_complete=profile_options,
              help="Option of the profile, such as modified-dates; repeatable.")  # fmt: skip
@click.option("--secret-file", type=click.File("rb"), help="With the secret of the mapping (default: thrown away).")
@click.option("--burned-in", type=click.Choice(["refuse", "mask", "keep"]), default="refuse", show_default=True,
              help="What becomes of an object with text in its pixels.")  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path), help="Also write the report to this file, as JSON.")
def deid(source: Path, folder: Path, options: tuple[str, ...], secret_file: BinaryIO | None, burned_in: str,
         report: Path | None) -> None:  # fmt: skip
    """Write de-identified copies of IN to the new folder OUT.

    By the Basic Profile of PS3.15; IN is not touched.
    """
    from .dicom import deidentify

    secret = secret_file.read().strip() if secret_file else None
    said = deidentify(source, folder, options=options, secret=secret, burned_in=burned_in, progress=sys.stdout.isatty())
    click.echo(said)
    for path, reason in said.left_out.items():
        click.secho(f"left out: {path}: {reason}", fg="yellow", err=True)
    if report:
        said.save(report)


@main.group()
def data() -> None:
    """List, fetch and verify the real images that the lessons use."""


def source_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a source."""
    from ._assets import assets
    from .data import catalog

    return [name for name in (*catalog(), *assets()) if name.startswith(incomplete)]


@data.command("list")
def list_sources() -> None:
    """List the sources: what each shows, where from, its licence."""
    from ._assets import assets
    from .data import catalog

    for source in (*catalog().values(), *assets().values()):
        click.secho(source.name, bold=True)
        click.echo(f"    {source.shows}\n    {source.package} {source.version} · {source.licence}")


@data.command("fetch")
@click.argument("names", nargs=-1, shell_complete=source_names)
def fetch_sources(names: tuple[str, ...]) -> None:
    """Fetch NAMES (default: all) into the cache, checking every byte."""
    from ._assets import asset, assets
    from .data import catalog, fetch

    failed = 0
    for name in names or (*catalog(), *assets()):
        try:
            click.echo(f"{name}: {asset(name) if name in assets() else fetch(name, stand_in=False).folder}")
        except RadkitError as error:
            failed += 1
            click.secho(f"{name}: {error}", fg="red", err=True)
    sys.exit(failed > 0)


@data.command("verify")
@click.argument("names", nargs=-1, shell_complete=source_names)
def verify_sources(names: tuple[str, ...]) -> None:
    """Compare the cache with the checksums promised, of NAMES (default: all)."""
    from . import _assets
    from .data.cache import catalog, verify

    parts = _assets.assets()
    wrong = {n: _assets.verify(parts[n]) if n in parts else verify(n) for n in names or (*catalog(), *parts)}
    for name, complaints in wrong.items():
        click.echo(f"{name}: {'; '.join(complaints) or 'as the catalog says'}")
    sys.exit(any(wrong.values()))


@data.command("cohort")
@click.argument("name", type=click.Choice(["brain-lesions", "chest-nodules"]))
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option("-n", "--n", default=60, show_default=True, help="How many patients.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other people.")
@click.option("--scanner", multiple=True, default=["A"], show_default=True, help="Repeat it to mix several evenly.")
@click.option("--dose", default=1.0, show_default=True, help="1 is normal; at a quarter, noise doubles.")
@click.option("--thickness-mm", type=float, help="Slice thickness (default: the scanner's).")
@click.option("--prevalence", default=1.0, show_default=True, help="Share of patients with a lesion.")
@click.option("--women", default=0.5, show_default=True, help="Share of women.")
@click.option("--age", nargs=2, type=int, default=(50, 80), show_default=True, help="The youngest and the oldest.")
@click.option("--label-noise", default=0.0, show_default=True, help="How far the label wanders from the truth, mm.")
@click.option("--shortcut", type=float, help="Probability that lesions go to the site with a burned-in marker.")
@click.option("--times", default=1, show_default=True, help="Time points of each patient (brain-lesions).")
@click.option("--stand-in", is_flag=True, help="Grow from generated anatomy: no download.")
def grow_cohort(name: str, folder: Path, n: int, seed: int, stand_in: bool, **knobs: Any) -> None:
    """Grow a cohort, nobody of whom exists, as DICOM with its truth.

    OUT is a new folder. Such as `radkit data cohort chest-nodules in -n 3`.
    """
    from .data import cohort

    if folder.exists():
        raise click.BadParameter(f"{folder} exists already: name a new folder", param_hint="OUT")
    progress = sys.stdout.isatty()
    grown = cohort(name, n, seed, stand_in=stand_in or None, progress=progress, **knobs)
    click.echo(f"{grown!r}: {grown.write(folder, progress=progress)}")


main.add_command(map_)
main.add_command(pacs)


def series() -> list[Path]:
    """Return the notebooks of the series, in order."""
    notebooks = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise click.ClickException("no notebooks here: the series lives in a checkout of radkit, not in the package")
    return notebooks


if __name__ == "__main__":
    main()
