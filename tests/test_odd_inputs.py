"""Scoring and asking around a real run of a tiny random model: the same numbers as fit, odd pictures, odd questions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import MODEL, SHORT, write_config

from text4seg import evaluate, export, fit, predict
from text4seg.report.prediction import read_picture, slug

WHOLE = ["model.lora.enabled=false", "model.train=[projector, language]"]


@pytest.fixture(scope="module", params=["lora", "whole"])
def run(request, tmp_path_factory) -> Path:
    """Two steps with a smoothed painting, by LoRA and of whole parts."""
    folder = tmp_path_factory.mktemp(request.param)
    config = write_config(folder)
    words = [*MODEL, *SHORT, *(WHOLE if request.param == "whole" else [])]
    words += ["decoding.paint=smooth", "decoding.max_new_tokens=40", f"run_dir={folder}/run"]
    assert fit.main(["--config", str(config), *words]) == 0
    return folder / "run"


@pytest.fixture
def asking(tmp_path) -> Path:
    path = tmp_path / "eval.yaml"
    path.write_text("name: val\n")
    return path


def test_evaluate_gives_the_scores_that_fit_gave(run, asking, capsys):
    assert evaluate.main(["--config", str(asking), f"run={run}"]) == 0, capsys.readouterr().err
    metrics = json.loads((run / "metrics.json").read_text())
    scores = json.loads((run / "eval" / "val" / "metrics.json").read_text())
    same = {name: value for name, value in scores.items() if name != "val/items" and "/legacy_" not in name}
    assert len(same) > 10
    assert same == {name: metrics[name] for name in same}
    words = ["decoding.paint=nearest", "name=nearest", "decoding.max_new_tokens=30", "which=last"]
    assert evaluate.main(["--config", str(asking), f"run={run}", *words]) == 0
    nearest = json.loads((run / "eval" / "nearest" / "metrics.json").read_text())
    assert nearest["nearest/ceiling_cIoU"] != scores["val/ceiling_cIoU"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("limit=-1", "`limit` must be 1 or more"),
        ("batch_size=0", "`batch_size` must be 1 or more"),
        ("decoding.paint=rough", "nearest, smooth"),
        ("grid=[4]", "[rows, columns]"),
        ("codec=rle", "rrle, irle, full"),
        ("device=tpu", "auto, cpu, cuda, mps"),
        ("which=first", "best, last, base"),
        ("shards=nowhere", "does not exist"),
    ],
)
def test_evaluate_says_what_is_wrong(run, asking, capsys, word, message):
    assert evaluate.main(["--config", str(asking), f"run={run}", word]) == 2
    assert message in capsys.readouterr().err


def test_export_of_either_kind_can_be_trained_again(run, tmp_path, capsys):
    out = tmp_path / "merged"
    assert export.main(["--run", str(run), "--out", str(out), "--which", "base"]) == 0
    out = tmp_path / "best"
    assert export.main(["--run", str(run), "--out", str(out)]) == 0
    words = [*MODEL, *SHORT, "model.options={}", f"model.path={out}", f"run_dir={tmp_path}/again"]
    assert fit.main(["--config", str(write_config(tmp_path)), *words]) == 0, capsys.readouterr().err
    assert fit.main(["--resume", str(run)]) == 0


def pictures(folder: Path) -> list[Path]:
    """One picture of every kind that people have."""
    grey = np.tile(np.arange(0, 65536, 65536 // 40, dtype=np.uint16)[:40], (30, 1))
    made = {
        "grey.png": Image.new("L", (40, 30), 128),
        "deep.png": Image.fromarray(grey),
        "float.tiff": Image.fromarray(np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)),
        "print.jpg": Image.new("CMYK", (40, 30), (10, 20, 30, 40)),
        "clear.png": Image.new("RGBA", (40, 30), (255, 0, 0, 0)),
        "palette.gif": Image.new("P", (40, 30)),
        "bits.png": Image.new("1", (40, 30)),
        "wide.png": Image.new("RGB", (10000, 20)),
        "dot.png": Image.new("RGB", (1, 1)),
    }
    for name, picture in made.items():
        picture.save(folder / name)
    frames = [Image.new("RGB", (40, 30), (i * 80, 0, 0)) for i in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    return [folder / name for name in (*made, "moving.gif")]


def test_pictures_of_every_kind(run, tmp_path, capsys):
    paths = pictures(tmp_path)
    out = tmp_path / "out"
    assert predict.main([*map(str, paths), "--run", str(run), "--query", "a dog", "--out", str(out)]) == 0
    for path in paths:
        size = Image.open(path).size
        found = list(out.glob(f"{path.stem}-a-dog.mask.png"))
        assert [Image.open(one).size for one in found] == [size]


def test_deep_pictures_keep_their_shades(tmp_path):
    pictures(tmp_path)
    for name in ("deep.png", "float.tiff"):
        shades = np.asarray(read_picture(tmp_path / name))[..., 0]
        assert shades.min() < 10
        assert shades.max() > 245
        assert len(np.unique(shades)) > 35


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, -3.4028235e38, 3.4e38])
def test_a_value_that_is_no_shade_leaves_the_others_theirs(tmp_path, odd):
    shades = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    shades[0, 7] = odd
    Image.fromarray(shades).save(tmp_path / "map.tiff")
    seen = np.asarray(read_picture(tmp_path / "map.tiff"))[..., 0]
    assert seen[0, 7] == (255 if odd > 1 else 0)
    assert abs(np.delete(seen.ravel(), 7) - np.delete(shades.ravel(), 7) * 255).max() <= 1


@pytest.mark.parametrize("value", [0.3, -np.inf, np.nan])
def test_one_value_everywhere_is_mid_grey(tmp_path, value):
    Image.fromarray(np.full((30, 40), value, np.float32)).save(tmp_path / "flat.tiff")
    (tmp_path / "flat.pgm").write_bytes(b"P5 40 30 65535\n" + np.full((30, 40), 30000, ">u2").tobytes())
    for name in ("flat.tiff", "flat.pgm"):
        assert 100 < np.asarray(read_picture(tmp_path / name)).mean() < 150


def test_what_is_no_picture_is_named(run, tmp_path, capsys):
    text, empty = tmp_path / "notes.txt", tmp_path / "empty.png"
    text.write_text("no picture")
    empty.write_bytes(b"")
    asked = [str(text), str(empty), str(tmp_path), "--run", str(run), "--query", "dog", "--out", str(tmp_path / "out")]
    assert predict.main(asked) == 1
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    assert len(told) == 3
    assert any("is a folder" in line for line in told)


@pytest.mark.parametrize("query", ["", "   ", "a|b", "a *2", "two\nlines", "<seg>"])
def test_questions_that_cannot_be_written_are_refused(run, tmp_path, capsys, query):
    picture = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(picture)
    assert predict.main([str(picture), "--run", str(run), "--query", query, "--out", str(tmp_path / "out")]) == 2
    assert "error: " in capsys.readouterr().err


def test_questions_that_look_alike_as_file_names_keep_their_answers(run, tmp_path):
    picture = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(picture)
    long = "the very long description of a thing that stands somewhere on the "
    queries = ["a cat", "a cat!", f"{long} left", f"{long} right", "größe " * 30 + "x", "狗" * 200]
    asked = [word for query in queries for word in ("--query", query)]
    out = tmp_path / "out"
    for _ in range(2):
        assert predict.main([str(picture), "--run", str(run), *asked, "--out", str(out)]) == 0
        stored = [json.loads(path.read_text(encoding="utf-8"))["query"] for path in out.glob("*.json")]
        assert sorted(stored) == sorted(queries)


def test_file_names_stay_short_in_any_alphabet():
    assert len(slug("狗" * 200).encode()) <= 60
