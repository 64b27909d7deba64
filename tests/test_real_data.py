"""Real photographs through the whole road: built, verified, drawn, scored at the ceiling, trained on."""

from __future__ import annotations

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
    "pets3": ("folder", "semantic", "majority"),
    "camvid": ("folder", "semantic", "center"),
    "coco_refs": ("refer", "referring", "coverage"),
}


@pytest.fixture(params=sorted(SETS))
def built(request, shared_data, tmp_path):
    """A set's name and a folder with the shards of its first samples."""
    source, task, rule = SETS[request.param]
    out = tmp_path / "built"
    root = shared_data / request.param
    words = [f"options.root={root}", "options.split=train", f"task={task}", f"rule={rule}", "limit=24", "shards=2"]
    assert shards.main(["build", "--source", source, "--out", str(out), *words]) == 0
    return request.param, out


def test_real_sets_are_built_verified_and_shown(built, tmp_path, capsys):
    _, out = built
    assert shards.main(["verify", str(out)]) == 0
    assert shards.main(["inspect", str(out)]) == 0
    picture = tmp_path / "sheet.png"
    assert shards.main(["show", str(out), "--out", str(picture), "--limit", "4"]) == 0
    assert Image.open(picture).width > 300
    assert "24" in capsys.readouterr().out


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
    for metric in ("cIoU", "gIoU") + (("mIoU",) if name != "coco_refs" else ()):
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
