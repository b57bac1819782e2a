"""``radkit pacs``: an archive for the folder that one is in, and what is asked of it or of any other archive."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import ArchiveUnavailable, RadkitError

if TYPE_CHECKING:
    from .pacs import Archive
    from .pacs.watching import Study

STATE = Path(".radkit/pacs.json")  # of what runs for this folder, with its account; when it is gone, that ends
ENDING = STATE.with_suffix(".ending")
LOG = STATE.with_suffix(".log")
SHOWN = {  # no patient's name, unless it is asked for
    "study": "StudyInstanceUID StudyDate ModalitiesInStudy StudyDescription",
    "series": "SeriesInstanceUID Modality SeriesNumber SeriesDescription",
    "instance": "SOPInstanceUID SOPClassUID InstanceNumber",
}
PATH, THERE = click.Path(path_type=Path), click.Path(path_type=Path, exists=True)


def other(command: Any) -> Any:
    """Let a command be asked of another archive than that of this folder."""
    archive = click.option(
        "--archive", "address", help="Another one: http(s)://host:port (Orthanc, DICOMweb) or dicom://AET@host:port."
    )
    certificate = click.option(
        "--certificate", type=click.Path(exists=True, dir_okay=False), expose_value=False,
        callback=lambda context, _, path: context.meta.update(tls=path), help="What it shows by TLS (PEM).",
    )  # fmt: skip
    return archive(certificate(command))


@click.group()
def pacs() -> None:
    """Start an archive for this folder; ask it, or any other one."""


def _here() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(STATE.read_text(encoding="utf-8"))
    return {}


def _opened(address: str | None = None, **options: Any) -> Archive:
    """Reach the archive at ``address``, else the one of this folder, else the one that ORTHANC_URL names."""
    from .pacs import open_archive

    if address and not address.startswith(("http://", "https://", "dicom://")):
        raise click.BadParameter(f"expected http://host:port or dicom://AET@host:port, got {address!r}")
    if address:
        tls = getattr(click.get_current_context(silent=True), "meta", {}).get("tls") or False
        return open_archive(address, tls=tls, **options)
    if not (state := _here()) and not os.environ.get("ORTHANC_URL"):
        raise ArchiveUnavailable("No archive runs for this folder: radkit pacs start, or name one with --archive.")
    try:
        return open_archive(**state.get("open", {}), **options)
    except ArchiveUnavailable as error:
        raise ArchiveUnavailable(f"{error} Start it again: radkit pacs start.") if state else error from error


def _pairs(pairs: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, sign, value in (pair.partition("=") for pair in pairs):
        if not sign:
            raise click.BadParameter(f"expected KEYWORD=VALUE, such as Modality=CT; got {key!r}")
        found.setdefault(key, []).append(value)
    return found


def study_uids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete a Study Instance UID."""
    with contextlib.suppress(Exception):  # a shell has no place for an error
        uids = [str(one.StudyInstanceUID) for one in _opened(context.params.get("address"), timeout=5).find()]
        return [uid for uid in uids if uid.startswith(incomplete)]
    return []


@pacs.command()
@click.option("--kind", type=click.Choice(["auto", "orthanc", "embedded"]), default="auto", show_default=True)
@click.option("--folder", type=PATH, default=".radkit/pacs", show_default=True, help="Where it keeps what it is sent.")
@click.option("--tls", is_flag=True, help="DICOM and HTTP by TLS, with a certificate made for it.")
@click.option("--foreground", is_flag=True, help="Run until Ctrl-C, instead of in the background.")
def start(kind: str, folder: Path, tls: bool, foreground: bool) -> None:
    """Start an archive for this folder, in the background.

    It answers this machine alone. Its account is in .radkit/pacs.json, for nobody else to read. What it is sent
    outlasts `radkit pacs stop`.
    """
    with contextlib.suppress(ArchiveUnavailable):
        if _here():
            raise click.ClickException(f"It runs already: {_opened()}")
    STATE.parent.mkdir(exist_ok=True)
    STATE.unlink(missing_ok=True)
    if foreground:
        return _run(kind, folder, tls)
    words = ["pacs", "start", "--foreground", f"--kind={kind}", f"--folder={folder}", *["--tls"] * tls]
    with LOG.open("wb") as log:  # an archive ends with the process that opened it: hence one that stays
        command = [sys.executable, "-m", "radkit.cli", *words]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        while not STATE.exists():
            if child.poll() is not None:
                raise click.ClickException(LOG.read_text(errors="replace").rpartition("Error: ")[2].strip())
            time.sleep(0.1)
    except KeyboardInterrupt:
        child.terminate()
        raise
    click.echo(_opened())


def _run(kind: Any, folder: Path, tls: bool) -> None:
    """Run the archive of this folder until its state is gone, or a signal comes."""
    from .pacs import open_archive

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), open_archive(kind, folder=folder, tls=tls) as archive:
        where = f"dicom://{archive.ae_title}@{archive.host}:{archive.dicom_port}"
        if archive.url:
            where = archive.url.replace("://", "://{}:{}@".format(*archive.session.auth))  # type: ignore[attr-defined]
        how = {"kind": where} | ({"tls": str(archive.certificate)} if tls else {})
        part = STATE.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"open": how, "pid": os.getpid(), "folder": str(folder)}, file)
        part.replace(STATE)
        click.echo(f"{archive} Ctrl-C ends it.")
        try:
            while STATE.exists():
                time.sleep(0.25)
        finally:
            STATE.unlink(missing_ok=True)
    ENDING.unlink(missing_ok=True)


@pacs.command()
def stop() -> None:
    """Stop the archive of this folder; what it holds stays."""
    try:
        _opened()
    except ArchiveUnavailable:
        if not _here():
            raise
        STATE.unlink(missing_ok=True)
        return click.echo("It had ended by itself.")
    deadline = time.monotonic() + 45
    STATE.replace(ENDING)
    while ENDING.exists():
        if time.monotonic() > deadline:
            raise click.ClickException(f"It does not end: see {LOG}.")
        time.sleep(0.1)
    click.echo("Stopped; what it holds stays for the next start.")


@pacs.command()
@other
def status(address: str | None) -> None:
    """Say which archive runs, what it holds, and the disk it takes.

    Exit status 1 if none runs.
    """
    from .dicom.table import counted

    archive = _opened(address)
    counts = [one.get("NumberOfStudyRelatedInstances") for one in archive.find()]
    click.echo(f"{archive}\n{counted(len(counts), 'study', 'studies')}", nl=False)
    click.echo("" if None in counts else f", {counted(sum(map(int, counts)), 'instance')}")  # not all archives count
    if not address and (folder := _here().get("folder")):
        click.echo(f"{_size(folder) / 1e6:,.1f} MB in {folder}")


def _size(folder: str) -> int:
    """Return the bytes in a folder that an archive works in: what goes while they are counted is none."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(place, name).stat().st_size
    return size


@pacs.command()
@click.argument("paths", nargs=-1, required=True, type=THERE)
@other
def send(paths: tuple[Path, ...], address: str | None) -> None:
    """Send DICOM files, and those in folders.

    What the archive holds already is not sent again: after a failure, do the same once more. Such as `radkit pacs send
    in`.
    """
    click.echo(f"The archive holds all {len(_opened(address).send(paths, progress=sys.stdout.isatty()))} instances.")


@pacs.command()
@click.argument("keys", metavar="KEYWORD=VALUE...", nargs=-1)
@click.option("--level", type=click.Choice(list(SHOWN)), default="study", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@other
def find(keys: tuple[str, ...], level: Any, as_json: bool, address: str | None) -> None:
    """List what matches every KEYWORD=VALUE.

    VALUE is a value, a pattern (* ?), a range of dates, or nothing, to see what is there: `radkit pacs find
    StudyDate=20240101- ModalitiesInStudy=CT PatientID=`. Exit status 1 if nothing matches.
    """
    from .dicom.table import clean

    query = {**dict.fromkeys(SHOWN[level].split(), ""), **{key: values[-1] for key, values in _pairs(keys).items()}}
    rows = [[clean(one.get(key, "")) for key in query] for one in _opened(address).find(level, **query)]
    if as_json:
        click.echo(json.dumps([dict(zip(query, row, strict=True)) for row in rows], indent=1))
    elif not rows:
        click.echo("Nothing matches.", err=True)
    else:
        widths = [max(map(len, column)) for column in zip(query, *rows, strict=True)]
        for row in (query, *rows):
            click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
    sys.exit(not rows)


@pacs.command()
@click.option("--study", help="Its Study Instance UID.", shell_complete=study_uids)
@click.option("--series", help="A Series Instance UID.")
@click.option("--out", required=True, type=PATH, help="Folder for the files, one an instance.")
@other
def fetch(study: str | None, series: str | None, out: Path, address: str | None) -> None:
    """Get a study or a series.

    Such as `radkit pacs fetch --study 1.2.3 --out study`.
    """
    if not (study or series):
        raise click.UsageError("Name what to get, with --study or --series; radkit pacs find lists them.")
    got = _opened(address).fetch(study=study, series=series, folder=out, progress=sys.stdout.isatty())
    click.echo(f"{out} holds all {len(got)} instances.")


@pacs.command()
@click.argument("map_folder", metavar="MAP", type=THERE)
@click.option("--where", multiple=True, metavar="KEYWORD=VALUE", help="Which series; a keyword twice: either value.")
@click.option("--journal", type=PATH, help="What has been done (default: in .radkit/watch, by the name of the MAP).")
@click.option("--workers", type=click.IntRange(1), default=4, show_default=True, help="Studies in flight at once.")
@click.option("--retry", multiple=True, metavar="UID", help="Try this study again, which was parked or refused.")
@other
def watch(map_folder: Path, where: tuple[str, ...], journal: Path | None, workers: int, retry: tuple[str, ...],
          address: str | None) -> None:  # fmt: skip
    """Run a MAP once on each stable study and store its results.

    Such as `radkit pacs watch map --where Modality=CT`. The first Ctrl-C waits for what is in flight; a second one
    leaves it for the next time.
    """
    from .deploy import run_map
    from .deploy.runner import read_command
    from .pacs import watch as watcher

    read_command(map_folder.absolute())  # no MAP is told now, and not once a study
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))  # or runs slow one another

    said = ""

    def told(study: Study) -> None:
        nonlocal said
        before, said = said, f"{study.uid} {study.state} {study.why}".rstrip()
        if said != before:  # while it waits, it says so at every look
            click.echo(f"{time.strftime('%X')} {said}")
        if study.state == "waiting" and not address:  # where it is started again, it has another address
            with contextlib.suppress(RadkitError):
                one.archive = _opened()

    archive = _opened(address)
    one = watcher(
        archive,
        lambda images, output: run_map(map_folder, images, output, progress=False),
        journal=journal or Path(".radkit/watch") / map_folder.resolve().name,
        where=_pairs(where) or None,
        workers=workers,
        progress=told,
    )
    for uid in retry:
        one.retry(uid)

    def ending(*_: object) -> None:
        click.echo("Ending what is in flight; Ctrl-C again leaves it for the next time.", err=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, ending)
    click.echo(f"Watching the {archive.kind} archive; Ctrl-C ends it.", err=True)
    one.serve()
    click.echo(one)
