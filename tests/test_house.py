"""The house rules that a machine can check: sizes, names, docstrings, paths, import directions, light imports.

The table `ROOMS` is the import rule of CONTRIBUTING.md in executable form; a new room needs a line in both.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "text4seg"
LONGEST_FILE, MEDIAN_FILE, LONGEST_FUNCTION = 400, 200, 50
FORBIDDEN_STEMS = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}

# Plain data types and settings travel everywhere; they belong to no room.
PLAIN = ("data.types", "data.items", "data.settings", "models.settings", "decoding.settings", "descriptors")
EVERYTHING = ("",)
# room -> what its files may import from this package besides the room itself and (where it says so) the plain types.
ROOMS: dict[str, tuple[str, ...]] = {
    "descriptors": (),
    "templates": (),
    "data.types": (),
    "data.notes": (),
    "data.items": ("data.types", "data.variants", "data.settings", "descriptors", "templates"),
    "data.settings": (),
    "models.settings": (),
    "decoding.settings": (),
    "data.sources": ("data.types", "data.notes", "descriptors"),
    "data.tasks": ("data.types", "data.image", "data.notes", "descriptors", "templates"),
    # Loading processes make the tensors, so the data room may hold a processor (never a model).
    "data": ("data", "templates", "models.processor", *PLAIN),
    "models": ("templates", *PLAIN),
    "decoding": ("models", "templates", *PLAIN),
    "refine": PLAIN,
    "metrics": PLAIN,
    "callbacks": EVERYTHING,
    "report": EVERYTHING,
    "": EVERYTHING,  # the doors and config.py
}
# What a room may import from outside the standard library; rooms without a line may import any declared dependency.
OUTSIDE: dict[str, set[str]] = {
    "descriptors": {"numpy"},
    "templates": {"yaml"},
    "data.types": {"numpy"},
    "data.notes": set(),
    "data.settings": set(),
    "models.settings": set(),
    "decoding.settings": set(),
    "data.sources": {"numpy", "PIL", "pycocotools", "datasets"},
    "data.tasks": {"numpy"},
    "refine": {"numpy", "PIL"},
    "refine.sam": {"numpy", "PIL", "torch", "transformers"},
    "config": {"omegaconf", "yaml"},
}
HEAVY = ("torch", "transformers", "lightning", "peft", "torchmetrics", "webdataset", "open_clip", "torchvision")


def module_name(path: Path) -> str:
    """Dotted name of a package file, without `text4seg.`: `data.sources.folder`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(name: str, room: str) -> bool:
    """Whether a module lies in a room (the empty room holds all)."""
    return room == "" or name == room or name.startswith(f"{room}.")


def room_of(name: str) -> str:
    """The most particular room that holds a module."""
    return max((room for room in ROOMS if within(name, room)), key=len)


def imports(source: str, name: str, *, is_package: bool = False) -> set[str]:
    """Absolute dotted names of everything that a module imports anywhere, relative imports resolved."""
    found: set[str] = set()
    here = ["text4seg", *filter(None, name.split("."))]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = here[: len(here) - node.level + is_package] if node.level else []
            base = ".".join([*up, *filter(None, [node.module])])
            found.update(f"{base}.{alias.name}" if base == "text4seg" else base for alias in node.names)
    return found


def violations(source: str, name: str, *, is_package: bool = False) -> list[str]:
    """What a module imports against the rules of its room."""
    room = room_of(name)
    wrong = []
    for target in sorted(imports(source, name, is_package=is_package)):
        top, _, inner = target.partition(".")
        if top == "text4seg":
            allowed = (*ROOMS[room], *([room] if room else EVERYTHING))
            if inner and not any(within(inner, other) for other in allowed):
                wrong.append(f"{name} (room {room!r}) imports text4seg.{inner}")
        elif top not in sys.stdlib_module_names:
            outside = next((OUTSIDE[key] for key in sorted(OUTSIDE, key=len, reverse=True) if within(name, key)), None)
            if outside is not None and top not in outside:
                wrong.append(f"{name} (room {room!r}) imports {top}")
    return wrong


def package_files() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def repository_files() -> list[Path]:
    """Every file that git tracks or would track; skips where this is not a git checkout."""
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: the repository's files cannot be listed")
    return [path for name in sorted(filter(None, listed.split("\0"))) if (path := ROOT / name).is_file()]


def documented(path: Path) -> list[str]:
    """Public names of a file that have no docstring (the module itself is called `module`)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    bare = [node.name for node in public if not ast.get_docstring(node)]
    return ([] if ast.get_docstring(tree) else ["module"]) + bare


@pytest.mark.parametrize("path", package_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_the_rules(path: Path) -> None:
    """Length, name, docstrings and import directions of one file of the package."""
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= LONGEST_FILE, "two ideas in one file?"
    assert path.stem not in FORBIDDEN_STEMS, "name the file after what it holds"
    assert not documented(path)
    name = module_name(path)
    assert not violations(source, name, is_package=path.stem == "__init__")


def test_the_median_file_is_short() -> None:
    """Small files, on the whole."""
    lengths = [path.read_text(encoding="utf-8").count("\n") for path in package_files()]
    assert statistics.median(lengths) <= MEDIAN_FILE


def test_functions_are_mostly_short() -> None:
    """At most one function in twenty is longer than fifty lines."""
    lengths = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in package_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert sum(length > LONGEST_FUNCTION for length in lengths) <= len(lengths) / 20


def test_no_path_of_one_machine() -> None:
    """Tracked text names no folder that exists on its author's machine only."""
    private = re.compile(r"(?<![\w.}])/(?:work|root|home|Users|tmp)/\w")
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture, a tar, weights
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in private.finditer(text)]
    assert not found


def test_no_large_file() -> None:
    """Nothing but the embedded checkpoint (8 MB at most) is larger than one megabyte."""
    large = [
        str(path.relative_to(ROOT))
        for path in repository_files()
        if path.stat().st_size > (8_000_000 if path.suffix == ".safetensors" else 1_000_000)
    ]
    assert not large


def test_dependencies_are_declared() -> None:
    """What the package imports stands in requirements.txt or is an optional extra."""
    distributions = {"PIL": "pillow", "yaml": "pyyaml", "open_clip": "open_clip_torch"}
    declared = {
        re.split(r"[<>=\s#;]", line, maxsplit=1)[0].lower()
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    }
    used = {
        target.partition(".")[0]
        for path in package_files()
        for target in imports(path.read_text(encoding="utf-8"), module_name(path))
    }
    outside = {distributions.get(top, top).lower() for top in used - sys.stdlib_module_names - {"text4seg"}}
    assert outside <= declared | {"deepspeed", "datasets", "matplotlib", "ray"}


def test_tested_versions_satisfy_the_floors() -> None:
    """Every direct dependency is pinned in constraints.txt, at or above its floor."""
    version = pytest.importorskip("packaging.version").Version
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    pins = {name.lower(): version(pin) for name, pin in pins.items()}
    floors = re.findall(r"^([\w.-]+)>=(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    assert floors
    assert not [name for name, floor in floors if pins.get(name.lower(), version("0")) < version(floor)]


def light_modules() -> list[str]:
    """Modules that must import without the heavy libraries: `--help` and a typing error answer at once."""
    names = [module_name(path) for path in package_files()]
    light = ("descriptors", "templates", "config", "data.types", "data.tasks", "data.sources")
    return [name for name in names if name.endswith("settings") or any(within(name, room) for room in light)]


def heavy_imports_of(modules: list[str]) -> list[str]:
    """Heavy libraries that a fresh interpreter has loaded after importing the modules."""
    lines = [*(f"import {module}" for module in modules), f"print(*[m for m in {HEAVY} if m in sys.modules])"]
    result = subprocess.run([sys.executable, "-c", "import sys\n" + "\n".join(lines)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_light_modules_stay_light() -> None:
    """One interpreter imports all of them and none of the heavy libraries."""
    assert heavy_imports_of([f"text4seg.{name}" for name in light_modules()]) == []


def test_the_light_check_can_fail() -> None:
    """The probe notices a heavy import."""
    assert heavy_imports_of(["webdataset"]) != []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("descriptors.parse", "import torch"),
        ("descriptors.parse", "def f():\n    from text4seg.templates import ask"),
        ("data.sources.folder", "from text4seg.data.shards.write import build"),
        ("data.sources.folder", "from ...models import module"),
        ("data.datamodule", "from text4seg.decoding.generate import generate"),
        ("models.module", "from text4seg.data.sources.registry import SOURCES"),
        ("models.module", "from text4seg import metrics"),
        ("decoding.generate", "import text4seg.metrics.iou"),
        ("refine.crf", "from text4seg.metrics.board import ScoreBoard"),
        ("metrics.iou", "from text4seg.models.backbone import Backbone"),
        ("config", "import torch"),
    ],
)
def test_the_import_check_can_fail(name: str, source: str) -> None:
    """Each kind of forbidden import is noticed."""
    assert violations(source, name)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("descriptors.parse", "from .grid import LabelGrid\nimport numpy as np"),
        ("data.tasks", "from text4seg.templates import ask"),
        ("decoding.generate", "from text4seg.models.backbone import Backbone\nimport torch"),
        ("callbacks.score", "from text4seg.metrics.iou import CIoU"),
        ("fit", "from text4seg.models.module import Text4SegModule"),
    ],
)
def test_the_import_check_lets_good_ones_pass(name: str, source: str) -> None:
    """The directions that the house is built on are allowed."""
    assert not violations(source, name)
