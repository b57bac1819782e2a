"""The lung nodule application: a chest CT in, SEG and TID 1500 report out.

A MONAI Deploy application (App SDK 4). Input, output and model come from the environment that MAP 1.0 defines. Where
the SDK has no wheels (macOS, Windows) the same steps run without it, and ``result.json`` says so. Exit status: 0 done,
1 failed, 2 the input was refused.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

if hasattr(signal, "pthread_sigmask"):  # before any thread begins: none of them is to hear what the main thread is told
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

from radkit._optional import optional
from radkit.deploy.package import packed_bundle
from radkit.deploy.pipeline import EXIT, Case, run_steps


def sdk_version() -> str:
    """The installed App SDK, "" for none. One that is installed but broken is an error, not a reason to do without."""
    try:
        return "" if os.environ.get("RADKIT_WITHOUT_SDK") else version("monai-deploy-app-sdk")
    except PackageNotFoundError:
        return ""


def with_sdk(case: Case) -> None:
    """Take the steps as operators of the SDK, imported only now that there is something to do for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # the SDK takes it for itself, and may well go on
    optional("monai")  # by our own door, which is quicker and quieter than the operators' plain import
    from operators import NoduleApp

    future = NoduleApp(case).run_async()
    while not future.done():
        if signal.SIGTERM in signal.sigpending():
            os._exit(1)
        time.sleep(0.05)
    heed_sigterm()
    future.result()


def heed_sigterm() -> None:
    """Let a SIGTERM end the main thread, and so the application."""
    if hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def main() -> int:
    """Run the application as the environment says."""
    heed_sigterm()
    here = Path(__file__).resolve().parent
    input_folder, output = (Path(os.environ[f"HOLOSCAN_{end}_PATH"]) for end in ("INPUT", "OUTPUT"))
    bundle = packed_bundle(here / "bundle", Path(os.environ["HOLOSCAN_MODEL_PATH"]))
    how: dict[str, Any] = {}
    if sdk := sdk_version():
        how = {"runner": f"monai-deploy-app-sdk {sdk}", "engine": with_sdk}
    return EXIT[run_steps(input_folder, output, bundle, rules=Path(os.environ["HOLOSCAN_CONFIG_PATH"]), **how).status]


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at once: taking holoscan's threads and torch apart costs a second and can change the status
