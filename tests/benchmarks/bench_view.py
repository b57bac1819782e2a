"""A 512×512×300 CT in the viewer, in JupyterLab in Chromium: how soon it is seen, how soon all there, how it scrolls.

Run it by hand: ``PYTHONPATH=tests python tests/benchmarks/bench_view.py``. Seconds count from the start of the cell
that shows the volume; the first time comes with every import, then medians of five. Chromium is asked through its
debugging port and not by playwright, which copies every message of a websocket twice and so takes longer than all else.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import nbformat
import requests
import websocket
from browser import FLAGS, jupyterlab

ROUNDS, TURNS = 5, 120
MAKE = """import time, numpy as np, radkit as rk
from highdicom import Volume
noise = np.random.default_rng(0).integers(-1000, 1000, (300, 512, 512), np.int16)
volume = Volume(noise, np.diag([1, 0.7, 0.7, 1])[[2, 1, 0, 3]], coordinate_system="PATIENT")"""
SHOW = """start = time.time()
display(rk.view.show(volume))
print(start)"""
# Runs a cell, and notes when its view comes to each state: "loading" is its first painted slice, "ready" all voxels.
RUN = """(async () => {
  const notebook = jupyterapp.shell.currentWidget.content; const seen = {};
  const step = () => new Promise(requestAnimationFrame);
  notebook.activeCellIndex = NUMBER; const running = jupyterapp.commands.execute('notebook:run-cell');
  await step(); await step();
  while (NUMBER && !seen.ready) {
    const state = document.querySelector('.radkit-view')?.dataset.state;
    if (state) seen[state] ??= Date.now() / 1000;
    await step(); }
  await running;
  const prints = [...document.querySelectorAll('.jp-OutputArea-output pre')].map(e => e.textContent);
  return JSON.stringify([seen, prints]); })()"""
SCROLL = """(async () => {
  const canvas = document.querySelector('canvas.radkit-axial'); const seen = []; const start = performance.now();
  for (let turn = 0; turn < TURNS; turn++) {
    const deltaY = turn < TURNS / 2 ? -100 : 100;
    canvas.dispatchEvent(new WheelEvent('wheel', { deltaY, bubbles: true, cancelable: true }));
    await new Promise(requestAnimationFrame); await new Promise((done) => setTimeout(done));
    if (canvas.getAttribute('aria-valuenow') !== seen.at(-1)) seen.push(canvas.getAttribute('aria-valuenow')); }
  return JSON.stringify(1000 * seen.length / (performance.now() - start)); })()"""


class Page:
    """A page of Chromium, asked to run JavaScript."""

    def __init__(self, address, folder):
        command = [
            shutil.which("chromium"),
            "--headless=new",
            "--remote-debugging-port=0",
            "--remote-allow-origins=*",
            *FLAGS,
        ]
        root = ["--no-sandbox"] * (hasattr(os, "geteuid") and os.geteuid() == 0)
        self.process = subprocess.Popen(
            [*command, *root, f"--user-data-dir={folder}", "--window-size=1500,1000", address],
            stderr=subprocess.DEVNULL,
        )
        port_file = Path(folder, "DevToolsActivePort")
        self.until(port_file.exists)
        pages = requests.get(f"http://127.0.0.1:{port_file.read_text().split()[0]}/json").json()
        (debugger,) = (page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self.socket = websocket.create_connection(debugger, timeout=120)

    def run(self, code):
        options = {"expression": code, "awaitPromise": True}
        self.socket.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": options}))
        result = json.loads(self.socket.recv())["result"]
        assert "exceptionDetails" not in result, result
        value = result["result"].get("value")
        return json.loads(value) if isinstance(value, str) else value

    def until(self, condition):
        while not condition():
            time.sleep(0.2)


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    path, settings = Path(folder, "bench.ipynb"), Path(folder, "jupyter_config_dir", "jupyter_lab_config.json")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(cell) for cell in (MAKE, SHOW)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    settings.parent.mkdir()
    settings.write_text(json.dumps({"LabApp": {"expose_app_in_browser": True}}))
    with jupyterlab(path, Path(folder), {}) as address:
        page = Page(address, Path(folder, "profile"))
        try:
            page.until(lambda: page.run("document.body?.textContent.includes('| Idle')"))
            page.run(RUN.replace("NUMBER", "0"))
            painted, ready = [], []
            for _ in range(ROUNDS + 1):
                page.run("jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => null)")
                seen, prints = page.run(RUN.replace("NUMBER", "1"))
                start = next(float(text) for text in prints if text.strip())
                painted.append(seen["loading"] - start)
                ready.append(seen["ready"] - start)
            for what, (first, *others) in {"first slice painted": painted, "every voxel there": ready}.items():
                listed = ", ".join(f"{s:.2f}" for s in others)
                print(f"{what}: {statistics.median(others):.2f} s, median of {listed}; the first time {first:.2f} s")
            speed = page.run(SCROLL.replace("TURNS", str(TURNS)))
            print(f"scrolling: {speed:.0f} slices a second (load of the machine: {os.getloadavg()[0]:.1f})")
        finally:
            page.process.terminate()
            page.process.wait()
