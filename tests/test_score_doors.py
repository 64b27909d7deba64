"""`--help` of the scoring doors is quick and pulls in nothing heavy; mistakes are told at once."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import text4seg.evaluate
import text4seg.predict

DOORS = ("evaluate", "compare", "predict", "export")
PROBE = """
import sys
from text4seg.{door} import main
try:
    main(["--help"])
except SystemExit:
    pass
print([name for name in ("torch", "transformers", "lightning", "peft", "torchmetrics") if name in sys.modules])
"""


@pytest.mark.parametrize("door", DOORS)
def test_help_is_quick_and_light(door):
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", f"text4seg.{door}", "--help"], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert done.returncode == 0
    assert f"python -m text4seg.{door}" in done.stdout
    assert seconds < 2 or sum(_seconds(door) < 2 for _ in range(3)), f"{seconds:.1f} s"
    probe = subprocess.run([sys.executable, "-c", PROBE.format(door=door)], capture_output=True, text=True, check=True)
    assert probe.stdout.splitlines()[-1] == "[]"


def _seconds(door: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", f"text4seg.{door}", "--help"], capture_output=True, check=True)
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "`run` is missing"),
        (["run=nowhere"], "does not exist"),
        (["run=nowhere", "wich=last"], "which"),
        (["run=nowhere", "limit=many"], "limit"),
    ],
)
def test_evaluate_tells_mistakes(tmp_path, capsys, overrides, message):
    config = tmp_path / "eval.yaml"
    config.write_text("name: val\n")
    assert text4seg.evaluate.main(["--config", str(config), *overrides]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error:")
    assert message in shown


def test_options_may_stand_between_pictures_and_words(tmp_path, capsys):
    config = tmp_path / "eval.yaml"
    config.write_text("name: val\n")
    assert text4seg.evaluate.main(["which=last", "--config", str(config), "run=nowhere"]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err
    assert text4seg.predict.main(["a.jpg", "--query", "cat", "b.jpg", "--run", "nowhere"]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err
