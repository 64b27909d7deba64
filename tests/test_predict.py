"""The predict door: what it writes, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_backbone import Reciter, backbone_of, prompts_of
from fake_item import jpeg
from PIL import Image, features
from pycocotools import mask as coco

import text4seg.report.run
from text4seg.data.settings import BuildSettings, DataSettings
from text4seg.decoding.settings import DecodingSettings
from text4seg.predict import main
from text4seg.report.prediction import predict, slug

TOP = "Sure:\n<seg>dog on top *2\n others *2\n</seg>"


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run folder whose model recites answers about a 2x2 grid; `asked` collects what it is asked."""
    folder = tmp_path / "run"
    (folder / "adapter").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    backbone = backbone_of(Reciter([TOP, "I cannot tell.", TOP, "<seg>dog on top *2\n"] * 2))
    backbone.asked = []
    backbone.processor.encode = lambda image, turns: backbone.asked.append((image.size, turns[0])) or "ab"
    backbone.processor.collate = lambda encoded, side: prompts_of(encoded)
    config = SimpleNamespace(data=DataSettings(grid=[2, 2]), decoding=DecodingSettings())
    monkeypatch.setattr(text4seg.report.run, "load_run", lambda *_: (config, backbone))
    monkeypatch.setattr(text4seg.report.run, "asked", backbone.asked, raising=False)
    return folder


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "my photo.jpg"
    path.write_bytes(jpeg(30, 50))
    return path


def test_each_picture_and_query_gets_overlay_mask_and_json(tmp_path, run, picture, capsys):
    out = tmp_path / "out"
    code = main([str(picture), "--run", str(run), "--query", "dog on top", "--query", "a cat", "--out", str(out)])
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        f"my photo-{query}.{end}" for query in ("a-cat", "dog-on-top") for end in ("json", "mask.png", "overlay.png")
    ]
    report = json.loads((out / "my photo-dog-on-top.json").read_text())
    mask = np.asarray(Image.open(out / "my photo-dog-on-top.mask.png"))
    assert mask.shape == (30, 50)
    assert (mask[:15] == 255).all()
    assert (mask[15:] == 0).all()
    assert (coco.decode(report["rle"]) * 255 == mask).all()
    assert report["bbox"] == [0.0, 0.0, 50.0, 15.0]
    assert (report["area"], report["status"], report["text"]) == (750, "ok", TOP)
    assert report["left"] is None
    assert report["per_mask"]["tokens"] > len(TOP)
    assert report["per_mask"]["seconds"] > 0
    assert "dog on top" in report["question"]
    other = json.loads((out / "my photo-a-cat.json").read_text())
    assert (other["area"], other["status"]) == (0, "invalid")
    assert other["left"] is not None
    assert other["text"].startswith("I cannot tell.")
    drawn = np.asarray(Image.open(out / "my photo-dog-on-top.overlay.png")).astype(int)
    assert np.abs(drawn - np.asarray(Image.open(picture).convert("RGB"))).mean(axis=(1, 2))[:15].min() > 5
    assert "invalid" in capsys.readouterr().out


def test_one_question_can_name_all_classes(tmp_path, run, picture):
    both = "Sure:\n<seg>a cat *1| dog on top *1\n others *1| a cat *1\n</seg>"
    _, backbone = text4seg.report.run.load_run()
    backbone.model = backbone_of(Reciter([both])).model
    words = [str(picture), "--run", str(run), "--query", "dog on top", "--query", "a cat", "--query", "a cow"]
    assert main([*words, "--together", "--out", str(tmp_path)]) == 0
    ((_, (question, _)),) = backbone.asked
    assert all(query in question for query in ("dog on top", "a cat", "a cow"))
    masks = [np.asarray(Image.open(tmp_path / f"my photo-{q}.mask.png")) for q in ("a-cat", "dog-on-top", "a-cow")]
    corners = [[bool(mask[y, x]) for y in (0, -1) for x in (0, -1)] for mask in masks]
    assert corners == [[True, False, False, True], [False, True, False, False], [False] * 4]


@pytest.mark.parametrize("hinted", [False, True])
def test_a_run_is_asked_in_the_words_that_it_was_trained_with(tmp_path, run, picture, hinted):
    lists = tmp_path / "mine.yaml"
    lists.write_text("partial: {questions: ['Mine: {labels}?']}\nconditioned: {questions: ['Which: {labels}?']}\n")
    config, backbone = text4seg.report.run.load_run()
    config.data.train.build = BuildSettings(task_options={"templates": str(lists), "joiner": "|"})
    config.data.format_hint = hinted
    words = [str(picture), "--run", str(run), "--query", "dog on top", "--query", "a cat", "--out", str(tmp_path)]
    assert main(words) == main([*words, "--together"]) == 0
    end = " (2x2 rrle)" if hinted else ""
    expected = [f"Mine: {query}?{end}" for query in ("dog on top", "a cat")] + [f"Which: dog on top|a cat?{end}"]
    assert [question for _, (question, _) in backbone.asked] == expected


def test_the_background_cannot_be_asked_for_in_a_notebook_either(run):
    config, backbone = text4seg.report.run.load_run()
    with pytest.raises(ValueError, match="'others' cannot be asked for"):
        next(iter(predict(backbone, config, Image.new("RGB", (4, 4)), ["dog on top", "others"])))


def test_names_and_queries_are_no_markup(tmp_path, run, capsys):
    path = tmp_path / "[bold] a.jpg"
    path.write_bytes(jpeg(30, 50))
    assert main([str(path), "--run", str(run), "--query", "[/x]", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "[/x]" in shown
    assert "[bold]" in shown


def test_the_grammar_can_be_switched_on(tmp_path, run, picture):
    words = [str(picture), "--run", str(run), "--query", "dog on top", "--query", "a cat", "--out", str(tmp_path)]
    assert main([*words, "--grammar", "on"]) == 0
    assert json.loads((tmp_path / "my photo-dog-on-top.json").read_text())["text"] == TOP
    assert json.loads((tmp_path / "my photo-a-cat.json").read_text())["status"] == "ok"


def odd_files(folder: Path) -> list[Path]:
    """A program for Ghostscript called a photograph, and a damaged AVIF, for which Pillow has an error of its own."""
    (folder / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 6\n%%EndComments\n")
    if not features.check("avif"):
        return [folder / "script.jpg"]
    stream = BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(stream, "AVIF")
    data = bytearray(stream.getvalue())
    data[276:300] = bytes(24)
    (folder / "damaged.avif").write_bytes(data)
    return [folder / "script.jpg", folder / "damaged.avif"]


def test_a_broken_picture_is_named_and_the_others_go_on(tmp_path, run, picture, capsys):
    broken, cut = tmp_path / "broken.png", tmp_path / "cut.jpg"
    broken.write_bytes(b"\x89PNG nothing")
    cut.write_bytes(jpeg(64, 64)[:300])
    out = tmp_path / "out"
    names = [str(path) for path in (broken, cut, *odd_files(tmp_path), tmp_path / "none.jpg", picture)]
    assert main([*names, "--run", str(run), "--query", "dog on top", "--out", str(out)]) == 1
    shown = capsys.readouterr()
    for name in names[:-1]:
        assert f"error: {name}:" in shown.err
    assert (out / "my photo-dog-on-top.json").exists()
    assert len(list(out.iterdir())) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems know letters only")
def test_names_that_are_no_text_or_very_long_are_written_too(tmp_path, run, picture, capsys):
    paths = [tmp_path / os.fsdecode(name) for name in (b"bad\xff.jpg", b"x" * 240 + b".jpg")]
    for path in paths:
        path.write_bytes(jpeg(30, 50))
    out = tmp_path / "out"
    asked = [*map(str, (*paths, picture)), "--run", str(run), "--query", "a cat", "--out", str(out)]
    for _ in range(2):
        assert main(asked) == 0
        assert "bad\\udcff.jpg" in capsys.readouterr().out
    stems = ("bad", "my photo", "x" * 120)
    assert sorted(path.name for path in out.glob("*.json")) == [f"{stem}-a-cat.json" for stem in stems]
    assert json.loads((out / "bad-a-cat.json").read_text(encoding="utf-8"))["image"] == str(paths[0])


def test_an_answer_that_cannot_be_written_is_named_and_the_others_go_on(tmp_path, run, picture, capsys):
    twin, out = tmp_path / "twin.jpg", tmp_path / "out"
    twin.write_bytes(jpeg(20, 20))
    (out / "twin-a-cat.mask.png").mkdir(parents=True)
    assert main([str(twin), str(picture), "--run", str(run), "--query", "a cat", "--out", str(out)]) == 1
    shown = capsys.readouterr()
    assert f"error: {twin}: " in shown.err
    assert "my photo.jpg" in shown.out
    assert (out / "my photo-a-cat.json").exists()


def test_one_relative_name_in_two_working_directories_is_two_files(tmp_path, run, monkeypatch):
    out = tmp_path / "out"
    for number, name in enumerate(("a", "b", "a")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "photo.jpg").write_bytes(jpeg(20 + number, 20))
        monkeypatch.chdir(tmp_path / name)
        assert main(["photo.jpg", "--run", str(run), "--query", "a cat", "--out", str(out)]) == 0
    assert {path.name: Image.open(path).height for path in out.glob("*.mask.png")} == {
        "photo-a-cat.mask.png": 22,
        "photo-a-cat-2.mask.png": 21,
    }


def test_two_files_of_one_name_do_not_overwrite_each_other(tmp_path, run, picture):
    (tmp_path / "b").mkdir()
    twin = tmp_path / "b" / picture.name
    twin.write_bytes(jpeg(20, 20))
    arguments = [str(picture), str(twin), "--run", str(run), "--query", "dog on top", "--out", str(tmp_path / "out")]
    for _ in range(2):  # the second time overwrites what the first time wrote
        main(arguments)
        sizes = {path.name: Image.open(path).size for path in (tmp_path / "out").glob("*.mask.png")}
        assert sizes == {"my photo-dog-on-top.mask.png": (50, 30), "my photo-dog-on-top-2.mask.png": (20, 20)}


def test_cameras_that_lie_on_their_side_are_believed(tmp_path, run):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert main([str(path), "--run", str(run), "--query", "dog on top", "--out", str(tmp_path)]) == 0
    assert Image.open(tmp_path / "turned-dog-on-top.mask.png").size == (20, 40)


def test_another_grid_can_be_asked_for(tmp_path, run, picture):
    arguments = [str(picture), "--run", str(run), "--query", "dog on top", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--grid", "4x2"]) == 0
    report = json.loads((tmp_path / "out" / "my photo-dog-on-top.json").read_text())
    assert report["status"] == "repaired"
    for wrong in ("16", "0x4", "4x-1", "axb"):
        with pytest.raises(SystemExit):
            main([*arguments, "--grid", wrong])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "nowhere"}, "does not exist"),
        ({"run": "."}, "no config.yaml"),
        ({"run": "my photo.jpg"}, "is a file"),
        ({"query": "a|b"}, "separator"),
        ({"query": "others"}, "'others' cannot be asked for"),
        ({"which": "middle"}, "best, last, base"),
        ({"which": "last"}, "no last weights"),
        ({"out": "my photo.jpg"}, "--out must be a folder, but my photo.jpg is a file"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(tmp_path, run, picture, capsys, monkeypatch, change, message):
    monkeypatch.setattr(text4seg.report.run, "load_run", lambda *_: pytest.fail("loaded a model"))
    monkeypatch.chdir(tmp_path)
    options = {"run": str(run), "query": "dog", "which": "best", **change}
    code = main([str(picture), *(part for name, value in options.items() for part in (f"--{name}", value))])
    assert code == 2
    assert message in capsys.readouterr().err


def test_no_picture_at_all_ends_before_the_model_is_loaded(tmp_path, run, capsys, monkeypatch):
    monkeypatch.setattr(text4seg.report.run, "load_run", lambda *_: pytest.fail("loaded a model"))
    assert main([str(tmp_path / "none.jpg"), "--run", str(run), "--query", "dog"]) == 1
    assert "none.jpg" in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_reached_is_explained(run, picture, capsys, monkeypatch):
    def unreachable(*_):
        raise OSError("cannot reach the hub")

    monkeypatch.setattr(text4seg.report.run, "load_run", unreachable)
    assert main([str(picture), "--run", str(run), "--query", "dog"]) == 2
    assert "error: cannot reach the hub" in capsys.readouterr().err


def test_file_names_keep_any_alphabet_and_no_slashes():
    assert slug("../etc: Größe?") == "etc-größe"
    assert slug("??") == "query"
