"""A notebook in JupyterLab in a real browser: Debian's Chromium, driven by playwright, every other host blocked."""

from __future__ import annotations

import atexit
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import requests
from PIL import Image
from playwright.sync_api import Locator, Page, Playwright, sync_playwright

SCREENSHOTS = Path(__file__).resolve().parents[1] / "build" / "screenshots"
HERE = {"127.0.0.1", "localhost"}
FLAGS = [
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(e => e.textContent)"


@dataclass
class Report:
    """What a run of a notebook in the browser left behind."""

    requests: list[str] = field(default_factory=list)  # every address asked for, websockets too
    errors: list[str] = field(default_factory=list)  # error outputs of cells, and exceptions in the page
    views: list[dict[str, np.ndarray]] = field(default_factory=list)  # for each viewer, the pixels of each plane
    screenshots: list[Path] = field(default_factory=list)

    @property
    def outside(self) -> list[str]:
        """The addresses that are not on this machine."""
        local = ("blob", "data", "about")
        return [a for a in self.requests if urlsplit(a).scheme not in local and urlsplit(a).hostname not in HERE]


@dataclass
class Session:
    """A notebook open in the browser."""

    page: Page
    name: str
    report: Report

    def run_all(self) -> None:
        """Choose Run > Run All Cells."""
        self.page.locator(".lm-MenuBar-item", has_text="Run").click()
        self.page.locator('[data-command="runmenu:run-all"]').click()
        self.page.wait_for_function(f"() => {PROMPTS}.some(p => /[\\d*]/.test(p))")

    def wait(self, seconds: float = 240) -> None:
        """Wait until no cell is running or queued."""
        self.page.wait_for_function(f"() => !{PROMPTS}.some(p => p.includes('*'))", timeout=1000 * seconds)
        red = self.page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts()
        self.report.errors += [text for text in red if "Traceback (most recent call last)" in text]

    def run(self, cell: Locator) -> Locator:
        """Run one cell to its end and return it; its old number goes first, which would pass for the new one."""
        cell.locator(".cm-content").click()
        prompt = cell.locator(".jp-InputArea-prompt")
        prompt.evaluate("prompt => { prompt.textContent = '' }")
        self.page.keyboard.press("Control+Enter")
        assert self.until(lambda: re.search(r"\d", prompt.text_content() or ""), 240), "the cell did not end"
        return cell

    def prompts(self) -> list[str]:
        """Return the prompt of each code cell: "[*]:" while it waits or runs."""
        return self.page.evaluate(PROMPTS)

    def until(self, condition: Callable[[], object], seconds: float = 120) -> bool:
        """Return True as soon as the condition holds, and False if it never does."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self.page.wait_for_timeout(50)
        return True

    def ready(self, number: int, seconds: float = 180) -> Locator:
        """Return a viewer when all its voxels have come."""
        view = self.page.locator(".radkit-view").nth(number)
        view.scroll_into_view_if_needed()
        self.page.locator(".radkit-view[data-state=ready]").nth(number).wait_for(timeout=1000 * seconds)
        return view

    def pixels(self, view: Locator, plane: str) -> np.ndarray:
        """Return a plane as it stands on the screen, as RGB."""
        return self.shot(view.locator(f"canvas.radkit-{plane}"))

    def shot(self, of: Locator) -> np.ndarray:
        """Return a part of the page as it stands on the screen, as RGB."""
        return np.asarray(Image.open(io.BytesIO(of.screenshot())).convert("RGB")).astype(int)

    def screenshot(self, what: str, of: Locator | None = None) -> Path:
        """Keep a picture of the page, or of a part of it."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{self.name}-{what}.png"
        (of or self.page).screenshot(path=path)
        self.report.screenshots.append(path)
        return path

    def look(self) -> Report:
        """Look at every viewer in the page."""
        for number in range(self.page.locator(".radkit-view").count()):
            view = self.ready(number)
            canvases = view.locator("canvas.radkit-plane").all()
            self.report.views.append({c.get_attribute("aria-label"): self.shot(c) for c in canvases})
            self.screenshot(f"view-{number}", view)
        self.screenshot("page")
        return self.report


def run_notebook_in_browser(path: Path, **environment: str) -> Report:
    """Run every cell of a notebook (a copy of it) in JupyterLab, and report."""
    with open_notebook(path, **environment) as session:
        session.run_all()
        session.wait()
        return session.look()


@contextmanager
def open_notebook(path: Path, **environment: str) -> Iterator[Session]:
    """Open a copy of a notebook in a JupyterLab of its own, with settings and a browser profile of its own."""
    with tempfile.TemporaryDirectory(prefix="radkit-browser-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder, "work", path.name)
        copy.parent.mkdir()
        shutil.copy(path, copy)
        with jupyterlab(copy, Path(folder), environment) as address:
            browser = driver().chromium.launch_persistent_context(
                Path(folder, "profile"),
                executable_path=shutil.which("chromium"),
                args=FLAGS + ["--no-sandbox"] * (hasattr(os, "geteuid") and os.geteuid() == 0),
                viewport={"width": 1500, "height": 1000},
                timeout=180_000,
            )
            try:
                yield _open(browser.pages[0], address, path.stem)
            finally:
                browser.close()


@cache
def driver() -> Playwright:
    """Start playwright, once: it cannot run twice in a process."""
    started = sync_playwright().start()
    atexit.register(started.stop)
    return started


def _open(page: Page, address: str, name: str) -> Session:
    report = Report()
    page.set_default_timeout(180_000)  # a machine that others use, too, takes long
    page.context.on("request", lambda request: report.requests.append(request.url))
    page.on("websocket", lambda socket: report.requests.append(socket.url))
    page.on("pageerror", lambda error: report.errors.append(str(error)))
    page.context.route(lambda url: urlsplit(url).hostname not in HERE, lambda route: route.abort())
    page.goto(address)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.get_by_text("| Idle").wait_for()  # only now is there a kernel: cells run earlier run nowhere
    return Session(page, name, report)


@contextmanager
def jupyterlab(notebook: Path, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start `radkit lab` on a notebook and give its address; its settings and kernels' files stay in the folder."""
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    environment = {**os.environ, **{name: str(folder / name.lower()) for name in places}, **environment}
    log = Path(folder, "lab.log")
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "radkit.cli", "lab", "--no-browser", str(notebook)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
        )
    try:
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+\S+", line)
        assert found, f"radkit lab said {line!r} and {log.read_text()!r}"
        _wait_for(found[0], server)
        yield found[0]
    finally:
        server.terminate()
        server.wait(180)


def _wait_for(address: str, server: subprocess.Popen) -> None:
    for _ in range(900):
        assert server.poll() is None, "JupyterLab ended before it began"
        try:
            requests.get(address, timeout=60).raise_for_status()
            return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.2)
    raise AssertionError("JupyterLab does not answer")
