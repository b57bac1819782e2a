#!/usr/bin/env python3
"""Entry point of the MAP: show, env, extract, help; without one of these words, run the application.

The application takes this process over, so its exit status is the container's; 64 is that of a wrong call.
"""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

HELP = """usage: docker run IMAGE [show [app|pkg] | env | extract | help]
  show [app|pkg]  print the manifests
  env             print the environment variables
  extract         copy app, config, models and docs to what is mounted at /var/run/holoscan/export
  help            print this
Without a word the application runs: input in /var/holoscan/input, output in /var/holoscan/output."""


def place(variable: str, default: str) -> Path:
    """A path that the environment may move."""
    return Path(os.environ.get(f"HOLOSCAN_{variable}", default))


MANIFESTS = {
    "app": place("APP_MANIFEST_PATH", "/etc/holoscan/app.json"),
    "pkg": place("PKG_MANIFEST_PATH", "/etc/holoscan/pkg.json"),
}


def show(*names: str) -> None:
    """Print one manifest, or both as one JSON object."""
    content = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in MANIFESTS.items()}
    print(json.dumps(content[names[0]] if names else content, indent=2))


def extract() -> None:
    """Copy the contents to those folders of the export that are mounted; to all, where only the export itself is."""
    export = place("EXPORT_PATH", "/var/run/holoscan/export")
    if not os.access(export, os.W_OK):
        raise KeyError(f"extract: mount a folder that user {os.getuid()} can write to at {export}")
    sources = {
        "app": [place("APPLICATION", "/opt/holoscan/app")],
        "config": [place("CONFIG_PATH", "/var/holoscan/app.yaml"), *MANIFESTS.values()],
        "models": [place("MODEL_PATH", "/opt/holoscan/models")],
        "docs": [place("DOCS", "/opt/holoscan/docs")],
    }
    for name in [name for name in sources if (export / name).is_dir()] or list(sources):
        (export / name).mkdir(exist_ok=True)
        for source in sources[name]:
            if source.is_dir():
                shutil.copytree(source, export / name, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, export / name / source.name)


def run() -> None:
    """Become the application."""
    manifest = json.loads(MANIFESTS["app"].read_text(encoding="utf-8"))
    os.environ.update({**manifest.get("environment", {}), **os.environ})
    os.chdir(place("WORKDIR", "/var/holoscan"))
    command = shlex.split(manifest["command"])
    os.execvp(command[0], command)


COMMANDS = {
    "run": run,
    "show": show,
    "env": lambda: print("\n".join(f"{name}={value}" for name, value in sorted(os.environ.items()))),
    "extract": extract,
    "help": lambda: print(HELP),
}

if __name__ == "__main__":
    word, *others = sys.argv[1:] or ["run"]
    try:
        COMMANDS[word](*others)
    except (KeyError, TypeError) as error:
        print(f"{' '.join(sys.argv[1:])}: {error}\n{HELP}", file=sys.stderr)
        sys.exit(64)
