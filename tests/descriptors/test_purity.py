"""Importing the package brings in numpy and nothing else that had to be installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECK = """
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
allowed = set(sys.stdlib_module_names) | {{"numpy", "text4seg", "_distutils_hack", "__mp_main__"}}
tops = {{name.split(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}}
print(*sorted(top for top in tops - allowed if not top.startswith(("__editable__", "_virtualenv", "sitecustomize"))))
"""


def foreign(*modules: str, path: Path | None = None) -> list[str]:
    """Names of the installed packages other than numpy that a fresh interpreter holds after these imports."""
    code = f"import sys; sys.path[:0] = {[str(ROOT), *([str(path)] if path else [])]!r}\n" + CHECK.format(
        modules=modules
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_only_numpy_is_imported():
    found = foreign("text4seg.descriptors")
    assert not {"torch", "transformers", "tokenizers", "PIL"} & set(found)
    assert [name for name in found if name not in foreign("numpy")] == []


def test_the_check_itself_can_fail(tmp_path):
    (tmp_path / "torch.py").write_text("")
    assert "torch" in foreign("text4seg.descriptors", "torch", path=tmp_path)
