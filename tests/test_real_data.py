"""Real photographs through the whole road: built, verified, drawn, scored at the ceiling, trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from small import MODEL, SHORT, steps_of

from text4seg import fit, shards
from text4seg.callbacks.score import Scored
from text4seg.data.datamodule import ShardDataModule
from text4seg.data.items import conversation
from text4seg.data.settings import DataSettings, SplitSettings
from text4seg.data.shards.read import records
from text4seg.data.variants import Curriculum
from text4seg.descriptors import parse
from text4seg.metrics.board import ScoreBoard
from text4seg.models.registry import load_processor
from text4seg.models.settings import ModelSettings

SETS = {
    "pets3": ("folder", "semantic", "majority", "options.root={0}/pets3 options.split=train"),
    "camvid": ("folder", "semantic", "center", "options.root={0}/camvid options.split=train"),
    "panoptic": ("folder", "semantic", "labelled", "options.root={0}/coco_panoptic100 options.split=train"),
    "refs": ("refer", "referring", "coverage", "options.root={0}/coco_refs options.split=train"),
    "instances": (
        "coco",
        "all",
        "labelled",
        "options.annotations={0}/coco_refs/instances.json options.images={0}/coco_refs/images options.instances=true",
    ),
}
"""Source, task, rule and words of the shards door by a name of the set; {0} is the folder that holds them all."""


@pytest.fixture(scope="module", params=sorted(SETS))
def built(request, shared_data, tmp_path_factory):
    """A set's name and a folder with the shards of its first samples."""
    source, task, rule, words = SETS[request.param]
    given = words.format(shared_data).split(" options.")
    root = Path(given[0].partition("=")[2])
    if not root.exists():
        pytest.skip(f"{root} is not there: TEXT4SEG_SHARED names a folder with other photographs")
    out = tmp_path_factory.mktemp(request.param) / "built"
    options = [given[0], *(f"options.{word}" for word in given[1:])]
    assert shards.main(["build", "--source", source, "--check", *options]) == 0
    recipe = [*options, f"task={task}", f"rule={rule}", "limit=24", "shards=2"]
    assert shards.main(["build", "--source", source, "--out", str(out), *recipe]) == 0
    return request.param, out


def test_real_sets_are_built_verified_and_shown(built, tmp_path, capsys):
    name, out = built
    assert shards.main(["verify", str(out)]) == 0
    assert shards.main(["inspect", str(out)]) == 0
    picture = tmp_path / "sheet.png"
    assert shards.main(["show", str(out), "--out", str(picture), "--limit", "4"]) == 0
    assert Image.open(picture).width > 300
    assert shards.main(["stats", str(out), "--grids", "16", "--rules", SETS[name][2], "--limit", "6", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "24" in printed
    (row,) = json.loads(printed[printed.index('{\n "folder"') :])["grids"]
    assert row["objects"] >= 6
    assert 0.3 < row["ceiling_cIoU"] < 1


@pytest.mark.parametrize("codec", ["rrle", "irle", "full"])
@pytest.mark.parametrize("grid", [[16, 16], [7, 23]])
def test_a_perfect_model_scores_exactly_the_ceiling(built, codec, grid):
    name, out = built
    settings = DataSettings(val=SplitSettings(shards=str(out)), codec=codec, grid=grid, rule=SETS[name][2], workers=0)
    processor = load_processor(ModelSettings(path="random"))
    data = ShardDataModule(settings, processor)
    data.setup("validate")
    items = [item for batch in data.val_dataloader() for item in batch["items"]]
    samples = [record.sample() for path in sorted(out.glob("*.tar")) for record in records(path)]
    answers = [text for sample in samples for _, text in conversation(sample, Curriculum(settings).usual, False)]
    assert len(items) == len(answers) >= 24
    board = ScoreBoard()
    scored = []
    for item, text in zip(items, answers, strict=True):
        decoded = parse(text, item.size, item.codec, item.labels[1:])
        scored.append(Scored(item, decoded, board.update(decoded, item)))
    scores = board.compute()
    assert scores["ok"] == 1.0
    assert all(score.score.iou == score.score.ceiling for score in scored)
    for metric in ("cIoU", "gIoU") + (("mIoU",) if name != "refs" else ()):
        assert 0.3 < scores[metric] == scores[f"ceiling_{metric}"] < 1


def test_fit_runs_on_real_sets(built, tmp_path):
    name, out = built
    config = tmp_path / "config.yaml"
    config.write_text(f"data: {{train: {{shards: {out}}}, val: {{shards: {out}, limit: 2}}, rule: {SETS[name][2]}}}\n")
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, "trainer.steps=20", "data.max_length=8192", f"run_dir={run}"]
    assert fit.main(["--config", str(config), *words]) == 0
    losses = [float(line["loss"]) for line in steps_of(run)]
    assert len(losses) == 20
    assert sum(int(line["skipped"]) for line in steps_of(run)) == 0
