"""JupyterLab on this machine alone: loopback, a token, and no request to anywhere else."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from urllib.parse import quote

from ._optional import optional
from .errors import RadkitError

HOST = "127.0.0.1"
CONFIG = Path(__file__).with_name("jupyter_config")  # settings of JupyterLab itself: it does not ask about news


def lab_arguments(port: int, token: str, root: Path, *, opens: str = "/lab", browser: bool = False) -> list[str]:
    """Return JupyterLab's options for a server on loopback that serves ``root`` and asks nothing of the internet.

    Give them to ``LabApp`` in the process: on a command line, other users of the machine could read the token.
    """
    options = {
        "ServerApp.ip": HOST,
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": browser,
        "ServerApp.root_dir": root,
        "ServerApp.log_level": "WARN",
        "ServerApp.allow_root": hasattr(os, "geteuid") and os.geteuid() == 0,
        "IdentityProvider.token": token,
        "LabApp.default_url": opens,
        # News, updates and the list of extensions would each ask another host.
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def start(notebook: Path, *, port: int = 0, browser: bool = True) -> int:
    """Serve JupyterLab at a notebook until it is stopped, and return its exit status.

    It shows the checkout around the notebook; without one, the notebook's folder. It listens on 127.0.0.1, at any free
    port unless one is named; a RadkitError says that this one is in use.
    """
    notebook = notebook.resolve()
    root = next((folder for folder in notebook.parents if (folder / "pyproject.toml").exists()), notebook.parent)
    port = _free(port)
    token = secrets.token_urlsafe(24)
    opens = f"/lab/tree/{quote(notebook.relative_to(root).as_posix())}"
    print(f"JupyterLab opens at http://{HOST}:{port}{opens}?token={token}\nStop it with Ctrl-C.", flush=True)
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, (str(CONFIG), os.getenv("JUPYTER_CONFIG_PATH"))))
    optional("jupyterlab.labapp").LabApp.launch_instance(lab_arguments(port, token, root, opens=opens, browser=browser))
    return 0


def _free(port: int) -> int:
    """Return the port, or any free one for 0."""
    with socket.socket() as probe:
        if os.name == "posix":  # as servers do, so that a port that was just closed is no obstacle
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise RadkitError(
                f"Port {port} on {HOST} is in use ({error.strerror}). Leave --port out, and a free one is taken."
            ) from error
        return int(probe.getsockname()[1])
