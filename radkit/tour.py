"""The tour: every notebook of the series, run headless, on one page with its pictures and its minutes."""

from __future__ import annotations

import html
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ._optional import optional

# A widget needs a running kernel and scripts from elsewhere; a picture needs neither.
PRIORITY = ["image/svg+xml", "image/png", "image/jpeg", "text/html", "text/markdown", "text/latex", "text/plain"]
WIDGET = "application/vnd.jupyter.widget-view+json"
STYLE = """
body { font: 17px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 0 1.2rem 6rem; color: #1b2530 }
table { border-collapse: collapse } td, th { padding: .3rem .8rem; text-align: left; border-bottom: 1px solid #d5dbe1 }
img { max-width: 100% } pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; line-height: 1.4 }
.jp-InputArea pre, div.input_area pre, .highlight pre { background: #f3f5f7; padding: .7rem .9rem; border-radius: 6px }
section { border-top: 3px solid #1f6f8b; margin-top: 4rem } .failed { color: #a3271f; font-weight: 600 }
.prompt, .jp-InputPrompt, .jp-OutputPrompt, .anchor-link { display: none }
"""


@dataclass(frozen=True)
class Stop:
    """One notebook of the tour: where its executed copy lies, its minutes, and what went wrong, if anything did."""

    source: Path
    executed: Path
    seconds: float
    error: str = ""


def run(notebooks: Iterable[Path], folder: Path, *, jobs: int = 2, progress: bool = True) -> list[Stop]:
    """Execute notebooks with papermill, ``jobs`` at a time, and write ``folder/index.html``.

    Returns
    -------
    list of Stop
        In the order of the notebooks; a failure is reported in ``Stop.error``, not raised, so that the page is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notebooks = list(notebooks)
    stops = {}
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(notebooks), unit="notebook", disable=not progress) as bar:
        waiting = {pool.submit(execute, notebook, folder): notebook for notebook in notebooks}
        for done in as_completed(waiting):
            stop = stops[waiting[done]] = done.result()
            bar.update()
            bar.write(f"{'FAILED' if stop.error else 'ok':>6}  {stop.seconds / 60:5.1f} min  {stop.source.stem}")
    ordered = [stops[notebook] for notebook in notebooks]
    (folder / "index.html").write_text(page(ordered), encoding="utf-8")
    return ordered


def execute(notebook: Path, folder: Path, *, environment: dict[str, str] | None = None) -> Stop:
    """Run one notebook with papermill in a process of its own, with one thread for each library."""
    executed = folder / notebook.name
    # Two processes with two torch threads each spin against each other on two cores, up to forty times slower.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--cwd", str(notebook.parent)]
    started = time.monotonic()
    child = subprocess.run(
        [*command, str(notebook), str(executed)],
        env={**os.environ, **threads, **(environment or {})},
        capture_output=True,
        text=True,
    )
    error = failure(executed, child.stderr) if child.returncode else ""
    return Stop(notebook, executed, time.monotonic() - started, error)


def failure(executed: Path, stderr: str) -> str:
    """Return the cell and the error that stopped a notebook, in one line."""
    nbformat = optional("nbformat")
    cells = nbformat.read(executed, as_version=4).cells if executed.exists() else []
    for cell in cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
                return f"cell [{cell.execution_count}] ({cell.id}: {first}): {output.ename}: {output.evalue}"
    return "papermill: " + " ".join(stderr.strip().splitlines()[-1:])


def page(stops: list[Stop]) -> str:
    """Return one HTML page that holds every executed notebook and asks nothing of any other host."""
    rows, sections = [], []
    for stop in stops:
        name, state = html.escape(stop.source.stem), "ok"
        if stop.error:
            state = f'<span class="failed">{html.escape(stop.error)}</span>'
        rows.append(f'<tr><td><a href="#{name}">{name}</a></td><td>{stop.seconds / 60:.1f}</td><td>{state}</td></tr>')
        sections.append(f'<section id="{name}">{body(stop.executed)}</section>')
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>radkit: the tour</title><style>{STYLE}</style>'
        f"<h1>The tour</h1><table><tr><th>notebook</th><th>minutes</th><th></th></tr>{''.join(rows)}</table>"
        f"{''.join(sections)}</html>"
    )


def body(executed: Path) -> str:
    """Return the HTML of one executed notebook, pictures inside, without a page around it."""
    if not executed.exists():
        return "<p>Nothing was executed.</p>"
    notebook = optional("nbformat").read(executed, as_version=4)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        if WIDGET in data and "image/png" not in data:
            data["text/plain"] = "(an interactive control, in the notebook)"
    # A progress bar rewrites its line: coalesced, only the last state of it is left.
    config = {"NbConvertBase": {"display_data_priority": PRIORITY}, "CoalesceStreamsPreprocessor": {"enabled": True}}
    exporter = optional("nbconvert").HTMLExporter(
        template_name="basic", config=optional("traitlets.config").Config(config)
    )
    text, _ = exporter.from_notebook_node(notebook)
    return text
