"""The floors of the house: a module imports only from the floors below its own (the design's table)."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import radkit

PACKAGE = Path(__file__).resolve().parents[1] / "radkit"
FLOORS = [
    {"errors"},
    {"_optional", "_folders", "cuda_runtime", "_assets", "_download"},
    {"dicom", "evaluate"},
    {"data", "view", "results"},
    {"model", "pacs"},
    {"deploy", "workflow", "cocreation", "check"},
    {"cli", "cli_map", "cli_pacs", "doctor", "lab", "tour"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def radkit_imports(path: Path) -> set[str]:
    """Return the rooms of radkit that a module imports, anywhere in it."""
    package = ("radkit", *path.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            names = [".".join([*module, alias.name]) for alias in node.names]
        found |= {parts[1] for name in names if (parts := name.split("."))[0] == "radkit" and len(parts) > 1}
    return found - {"__version__", "RadkitError"}


def modules() -> list[tuple[str, Path]]:
    return [(p.relative_to(PACKAGE).parts[0].removesuffix(".py"), p) for p in PACKAGE.rglob("*.py")]


def test_every_module_has_a_floor():
    assert {room for room, _ in modules()} - set(FLOOR) - {"__init__", "__main__"} == set()


def test_no_module_imports_from_its_own_floor_or_above():
    wrong = [
        f"{path.relative_to(PACKAGE)} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})"
        for room, path in modules()
        if room != "__init__"
        for other in radkit_imports(path) - {room}
        if FLOOR[other] >= FLOOR[room] and FLOOR[room] < len(FLOORS) - 1
    ]
    assert wrong == []


def test_a_relative_import_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "a.py").write_text(
        "from ..model.bundle import x\nfrom .. import pacs\nimport radkit.view.y\n"
    )
    assert radkit_imports(tmp_path / "dicom" / "a.py") == {"model", "pacs", "view"}


def test_importing_radkit_brings_nothing_heavy():
    code = "import sys, radkit; print(sorted({'torch', 'monai', 'pydicom', 'matplotlib', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_no_room_imports_torch_before_it_is_used():
    rooms = ", ".join(f"radkit.{room}" for room in radkit._ROOMS)
    heavy = {"torch", "monai", "holoscan", "matplotlib", "sklearn"}
    code = f"import sys, {rooms}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_room_has_at_most_eight_public_names():
    code = "import radkit as rk; print({r: len(getattr(rk, r).__all__) for r in rk._ROOMS})"
    counts = ast.literal_eval(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    assert counts and max(counts.values()) <= 8, counts


def test_the_phantoms_know_nothing_of_radkit():
    sources = [path.read_text() for path in (PACKAGE.parent / "radkit_phantoms").glob("*.py")]
    assert sources and not any(re.search(r"^\s*(from|import) radkit\b", text, re.M) for text in sources)
