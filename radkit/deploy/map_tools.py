#!/usr/bin/env python3
"""Entry point of the MAP: show, env, extract, help; without one of these words, run the application.

The application takes this process over, so its exit status is the container's.
"""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

EXPORT = Path(os.environ.get("HOLOSCAN_EXPORT_PATH", "/var/run/holoscan/export"))
HELP = """usage: docker run IMAGE [show [app|pkg] | env | extract | help]
  show [app|pkg]  print the manifests
  env             print the environment variables
  extract         copy app, config, models and docs to what is mounted at /var/run/holoscan/export
  help            print this
Without a word the application runs: input in /var/holoscan/input, output in /var/holoscan/output."""


def place(variable: str, default: str) -> Path:
    """A path that the environment may move."""
    return Path(os.environ.get(variable, default))


APP_MANIFEST = place("HOLOSCAN_APP_MANIFEST_PATH", "/etc/holoscan/app.json")
PKG_MANIFEST = place("HOLOSCAN_PKG_MANIFEST_PATH", "/etc/holoscan/pkg.json")


def show(which: str = "") -> int:
    """Print one manifest, or both as one JSON object."""
    manifests = {"app": APP_MANIFEST, "pkg": PKG_MANIFEST}
    if which and which not in manifests:
        return fail(f"show {which}: expected app or pkg")
    content = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in manifests.items()}
    print(json.dumps(content[which] if which else content, indent=2))
    return 0


def env() -> int:
    """Print the environment."""
    print("\n".join(f"{name}={value}" for name, value in sorted(os.environ.items())))
    return 0


def extract() -> int:
    """Copy the contents to those folders of the export that are mounted; to all, where only the export itself is."""
    if not EXPORT.is_dir() or not os.access(EXPORT, os.W_OK):
        return fail(f"extract: mount a folder that user {os.getuid()} can write to at {EXPORT}")
    config = place("HOLOSCAN_CONFIG_PATH", "/var/holoscan/app.yaml")
    sources = {
        "app": [place("HOLOSCAN_APPLICATION", "/opt/holoscan/app")],
        "config": [config, APP_MANIFEST, PKG_MANIFEST],
        "models": [place("HOLOSCAN_MODEL_PATH", "/opt/holoscan/models")],
        "docs": [place("HOLOSCAN_DOCS", "/opt/holoscan/docs")],
    }
    for name in [name for name in sources if (EXPORT / name).is_dir()] or list(sources):
        for source in sources[name]:
            if source.is_dir():
                shutil.copytree(source, EXPORT / name, dirs_exist_ok=True)
            else:
                (EXPORT / name).mkdir(exist_ok=True)
                shutil.copyfile(source, EXPORT / name / source.name)
    return 0


def run() -> int:
    """Become the application."""
    manifest = json.loads(APP_MANIFEST.read_text(encoding="utf-8"))
    for name, value in manifest.get("environment", {}).items():
        os.environ.setdefault(name, value)
    os.chdir(os.environ.get("HOLOSCAN_WORKDIR", "/var/holoscan"))
    command = shlex.split(manifest["command"])
    os.execvp(command[0], command)


def fail(message: str) -> int:
    """Say what is wrong; exit status 64 is that of a wrong call."""
    print(message, file=sys.stderr)
    return 64


def main(words: list) -> int:
    """Do what the words say."""
    if not words:
        return run()
    commands = {"show": show, "env": env, "extract": extract, "help": lambda: print(HELP) or 0}
    if words[0] not in commands:
        return fail(f"{words[0]}: not known here\n{HELP}")
    return commands[words[0]](*words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
