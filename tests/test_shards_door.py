"""The shards door: light help, mistakes told, build twice, repair, and what verify, inspect and show print."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import text4seg.data.shards.build
from text4seg.recipe import read_recipe
from text4seg.shards import main

SMALL = ["options.count=6", "options.size=[48,48]", "options.noise=0", "limit=6", "shards=2", "grid=[8,8]"]
PROBE = """
import sys
from text4seg.shards import main
try:
    main({words})
except SystemExit:
    pass
print([name for name in ("torch", "transformers", "lightning", "webdataset", "peft") if name in sys.modules])
"""
CONFIG = """
data:
  grid: [4, 6]
  codec: full
  train:
    shards: {folder}
    build: {{source: scenes, limit: 3, shards: 3, options: {{count: 3, size: [48, 48]}}}}
"""


def build(folder, *words):
    return main(["build", "--out", str(folder), "--source", "scenes", *SMALL, *words])


@pytest.fixture
def folder(tmp_path, capsys):
    assert build(tmp_path / "set") == 0
    capsys.readouterr()
    return tmp_path / "set"


def flip(path: Path, place: int = 5000):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_help_is_quick_and_light():
    assert sum(_seconds() < 2 for _ in range(2)), "slower than two seconds, twice"
    assert _loaded(["--help"]) == "[]"
    assert _loaded(["build", "--help"]) == "[]"


def test_a_mistyped_key_is_told_before_anything_heavy_loads():
    assert _loaded(["build", "--out", "x", "--source", "scenes", "sed=1"]) == "[]"


def _seconds():
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "text4seg.shards", "--help"], capture_output=True, text=True)
    assert "python -m text4seg.shards" in done.stdout
    return time.perf_counter() - start


def _loaded(words):
    command = [sys.executable, "-c", PROBE.format(words=words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "scens"], "did you mean 'scenes'"),
        (["--source", "scenes", "sede=1"], "did you mean `seed`?"),
        (["--source", "scenes", "count=3"], "did you mean `options.count`?"),
        (["--source", "scenes", "turns=3"], "did you mean `task_options.turns`?"),
        (["--source", "scenes", "options.conut=3"], "did you mean `count`?"),
        (["--source", "scenes", "task_options.trns=3"], "did you mean `turns`?"),
        (["--source", "scenes", "options.count=many"], "`options.count`"),
        (["--source", "scenes", "shards=many"], "`shards`"),
        (["--source", "scenes", "shards=0"], "at least 1"),
        (["--source", "scenes", "task=guess"], "unknown task 'guess'"),
        (["--source", "scenes", "codec=morse"], "rrle, irle, full"),
        (["--source", "scenes", "grid=[4]"], "`grid`"),
        (["--source", "scenes", "grid=[4"], "not YAML"),
        (["--source", "scenes", "seed"], "key=value"),
        (["--source", "folder", "options.root=nowhere"], "nowhere"),
        (["--source", "folder", "options.root=2017"], "got '2017': no such folder"),
        (["--source", "scenes", "task=mix", "task_options.weights=[all]"], "`task_options.weights` must map"),
        (["--config", "nowhere.yaml"], "no configuration at nowhere.yaml"),
    ],
)
def test_build_tells_mistakes_and_writes_nothing(tmp_path, capsys, words, message):
    assert main(["build", "--out", str(tmp_path / "set"), *words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error:")
    assert message in shown
    assert list(tmp_path.iterdir()) == []


def test_building_twice_does_nothing_unless_forced(folder, capsys, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert build(folder) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert build(folder, "--force") == 0
    assert "wrote 6 samples" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.setattr(text4seg.data.shards.build, "build", None)
    assert build(folder) == 0


@pytest.mark.parametrize("word", ["seed=1", "grid=[4,4]", "codec=full", "rule=majority", "options.objects=[2,3]"])
def test_another_recipe_builds_anew(folder, capsys, word):
    assert build(folder, word) == 0
    assert "wrote 6 samples" in capsys.readouterr().out
    assert main(["verify", str(folder)]) == 0


def test_a_flipped_byte_is_reported_and_repaired(folder, capsys):
    before = (folder / "shard-00001.tar").read_bytes()
    assert main(["verify", str(folder)]) == 0
    flip(folder / "shard-00001.tar")
    assert main(["verify", str(folder), str(folder)]) == 1
    shown = capsys.readouterr().out
    assert shown.count("shard-00001.tar: its SHA-256 is not that of the index") == 2
    assert "run the same build again" in shown
    assert build(folder) == 0
    assert "wrote 6 samples" in capsys.readouterr().out
    assert (folder / "shard-00001.tar").read_bytes() == before
    assert main(["verify", str(folder)]) == 0


def test_a_stray_file_goes_with_the_next_build(folder, capsys):
    (folder / "shard-00007.tar").write_bytes(b"x")
    assert main(["verify", str(folder)]) == 1
    assert build(folder) == 0
    assert main(["verify", str(folder)]) == 0


def test_a_configuration_gives_the_recipe(tmp_path, capsys):
    config, folder = tmp_path / "a.yaml", tmp_path / "built"
    config.write_text(CONFIG.format(folder=folder))
    assert main(["build", "--config", str(config), "seed=4"]) == 0
    index = json.loads((folder / "index.json").read_text())
    assert (index["grid"], index["codec"], index["recipe"]["seed"], len(index["shards"])) == ([4, 6], "full", 4, 3)
    assert main(["build", "--config", str(config), "--split", "val"]) == 2
    assert "`data.val.build`" in capsys.readouterr().err


def test_the_shipped_configurations_hold_recipes():
    root = Path(__file__).resolve().parents[1]
    recipe = read_recipe(root / "conf" / "tiny-pretrain.yaml", "val", None, ["grid=[5,5]"])
    assert (recipe.build.source, recipe.build.shards, recipe.spelling) == ("scenes", 1, ((5, 5), "rrle", "labelled"))


def test_no_folder_is_an_error(capsys):
    assert main(["build", "--source", "scenes"]) == 2
    assert "--out is missing" in capsys.readouterr().err


def test_inspect_prints_a_table_and_json(folder, capsys):
    assert main(["inspect", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "6 in 2 shards" in shown
    assert "8x8 cells, rrle, rule labelled" in shown
    assert main(["inspect", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == {"referring": 6}


def test_inspect_takes_nothing_for_markup(folder, capsys):
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "licence": "[/b] by [red]me[/red]\x1b[2J"}))
    assert main(["inspect", str(folder)]) == 0
    assert "[/b] by [red]me[/red]\\x1b[2J" in capsys.readouterr().out


def test_what_verify_prints_does_not_steer_the_terminal(folder, capsys):
    (folder / "\x1b[2J.tar").write_bytes(b"")
    assert main(["verify", str(folder)]) == 1
    assert "  \\x1b[2J.tar: a file that the index does not list" in capsys.readouterr().out


def test_show_writes_a_picture(folder, tmp_path):
    for limit in (1, 4):
        assert main(["show", str(folder), "--out", str(tmp_path / f"{limit}.png"), "--limit", str(limit)]) == 0
    few, many = (Image.open(tmp_path / f"{limit}.png") for limit in (1, 4))
    assert many.width > few.width
    assert many.height > few.height
    assert len(many.convert("RGB").getcolors(1 << 24)) > 100


@pytest.mark.parametrize(
    "words", [["inspect", "nowhere"], ["show", "nowhere", "--out", "x.png"], ["show", "{}", "--out", "x", "--limit=0"]]
)
def test_mistakes_of_the_other_commands_are_told(folder, capsys, words):
    assert main([word.format(folder) for word in words]) == 2
    assert capsys.readouterr().err.startswith("error:")


def test_a_file_is_no_folder_of_shards(folder, capsys):
    assert main(["verify", str(folder / "index.json")]) == 1
    assert main(["inspect", str(folder / "index.json")]) == 2
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert f"index.json is a file; expected the folder of the shards, which may be {folder}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-length", "-3"], "--max-length must be 1 or more, got -3"),
        (["--max-length", "0"], "--max-length must be 1 or more, got 0"),
        (["--set", "data.codec=full"], "--set data.codec=full changes a configuration: name it with --config"),
    ],
)
def test_stats_refuses_what_it_would_not_follow(folder, capsys, words, message):
    assert main(["stats", str(folder), *words]) == 2
    assert message in capsys.readouterr().err


def test_verify_of_nothing_is_damage(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "nowhere")]) == 1
    assert "does not exist" in capsys.readouterr().out


def test_words_may_stand_between_options(tmp_path, capsys) -> None:
    words = ["build", "--source", "scenes", "shards=1", "options.size=[64, 64]", "--out", str(tmp_path / "o")]
    assert main([*words, "options.count=2"]) == 0
    assert "6 samples" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*words, "--nonsense", "options.count=2"])
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["build", "--source", "scenes", "options.count=2", "--out", "s3://bucket/x"],
        ["verify", "gs://bucket/x"],
        ["inspect", "hf://bucket/x"],
    ],
)
def test_addresses_are_for_reading_in_training(words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "on this machine only" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_files_of_the_system_are_no_damage(tmp_path, capsys) -> None:
    assert main(["build", "--source", "scenes", "options.count=2", "shards=1", "--out", str(tmp_path / "o")]) == 0
    (tmp_path / "o" / ".DS_Store").touch()
    assert main(["verify", str(tmp_path / "o")]) == 0
    assert main(["stats", str(tmp_path / "o"), "--limit", "-1"]) == 2
    assert "--limit must be 1 or more, got -1" in capsys.readouterr().err
