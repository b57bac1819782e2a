"""The lung nodule application: a chest CT in, SEG and TID 1500 report out.

A MONAI Deploy application (App SDK 4). Input, output and model come from the environment that MAP 1.0 defines. Where
the SDK has no wheels (macOS, Windows) the same steps run without it, and ``result.json`` says so. Exit status: 0 done,
1 failed, 2 the input was refused.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from radkit._optional import optional
from radkit.deploy.package import packed_bundle
from radkit.deploy.pipeline import EXIT, run_steps


def sdk_version() -> str:
    """The installed App SDK, "" for none. One that is installed but broken is an error, not a reason to do without."""
    try:
        return "" if os.environ.get("RADKIT_WITHOUT_SDK") else version("monai-deploy-app-sdk")
    except PackageNotFoundError:
        return ""


def end_with_the_starter() -> None:
    """Wait until whoever started us is gone, which closes our standard input, and go too."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> int:
    """Run the application as the environment says."""
    if os.environ.get("RADKIT_STARTER"):
        threading.Thread(target=end_with_the_starter, daemon=True).start()
    here = Path(__file__).resolve().parent
    input_folder, output = (Path(os.environ[f"HOLOSCAN_{end}_PATH"]) for end in ("INPUT", "OUTPUT"))
    bundle = packed_bundle(here / "bundle", Path(os.environ["HOLOSCAN_MODEL_PATH"]))
    config = yaml.safe_load(Path(os.environ["HOLOSCAN_CONFIG_PATH"]).read_text(encoding="utf-8"))
    if sdk := sdk_version():
        optional("monai")  # by our own door, which is quicker and quieter than the operators' plain import
        from operators import run_with_sdk

        run_with_sdk(input_folder, output, bundle, config["rules"], f"monai-deploy-app-sdk {sdk}")
    else:
        run_steps(input_folder, output, bundle, rules=config["rules"])
    return EXIT[json.loads((output / "result.json").read_text(encoding="utf-8"))["status"]]


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at once: taking holoscan's threads and torch apart costs a second and can change the status
