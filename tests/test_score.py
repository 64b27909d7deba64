"""Scoring during fit through Lightning's own loop: logged, monitored, drawn, and quiet in the sanity check."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_backbone import Reciter, backbone_of, prompts_of
from fake_item import FakeItem
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch.utils.data import DataLoader

from text4seg.callbacks.pictures import Pictures
from text4seg.callbacks.score import Score, collapsed
from text4seg.decoding.language.grammar import Grammar, UnwritableError
from text4seg.decoding.settings import DecodingSettings
from text4seg.descriptors import answer, encode, rasterize

LABELS = ("others", "red car")


def batches() -> list[dict]:
    """Two batches of two items: a car in each corner."""
    made = []
    for i in range(4):
        mask = np.zeros((32, 48), np.uint8)
        mask[16 * (i // 2) :, 24 * (i % 2) :][:16, :24] = 1
        made.append(FakeItem(mask, key=f"item{i}"))
    return [{"prompts": prompts_of(["a", "bcd"]), "items": made[i : i + 2]} for i in (0, 2)]


def good(item: FakeItem) -> str:
    return answer("Sure:", encode(rasterize(item.mask, item.labels, item.size)))


class Module(LightningModule):
    """Answers from a list; trains one number."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self.backbone = backbone_of(Reciter(texts))
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, _):
        return self.weight.sum()

    def validation_step(self, batch, _):
        return None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader([0], batch_size=None)

    def val_dataloader(self):
        return DataLoader(batches(), batch_size=None)


def fit(tmp_path, texts: list[str], epochs: int, **options):
    score = Score(keep=3)
    saved = ModelCheckpoint(tmp_path / "checkpoints", monitor="val/cIoU", mode="max", filename="{step}")
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=TensorBoardLogger(tmp_path, name="", version=""),
        callbacks=[score, Pictures(score, tmp_path / "pictures"), saved],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **options,
    )
    module = Module(texts)
    trainer.fit(module)
    return module, trainer, score, saved


@pytest.mark.filterwarnings("ignore:.*(num_workers|sanity_check|batch_size).*")
def test_scores_are_logged_monitored_and_drawn(tmp_path):
    right = [good(item) for batch in batches() for item in batch["items"]]
    nothing = ["<seg>others *4\n others *4\n others *4\n others *4\n</seg>"] * 4
    with pytest.warns(UserWarning, match="100% of .* answers mark nothing that was asked for, where 0% should"):
        module, trainer, score, saved = fit(tmp_path, nothing + right, epochs=2, num_sanity_val_steps=2)
    assert module.backbone.model.asked == 8, "the sanity check must not decode"
    assert score.values["val/cIoU"] == score.values["val/gIoU"] == score.values["val/ceiling_cIoU"] == 1.0
    assert score.values["val/ok"] == 1.0
    assert {name: float(trainer.callback_metrics[name]) for name in score.values} == pytest.approx(score.values)
    assert saved.best_model_path.endswith("step=2.ckpt")
    assert float(saved.best_model_score) == 1.0
    assert [kept.item.key for kept in score.kept] == ["item0", "item1", "item2"]
    pictures = sorted((tmp_path / "pictures").glob("*.png"))
    assert [path.name for path in pictures] == ["step_000001.png", "step_000002.png"]
    before, after = (np.asarray(Image.open(path)) for path in pictures)
    assert (before != after).any()
    events = b"".join(path.read_bytes() for path in tmp_path.glob("events*"))
    assert b"val/pictures" in events
    assert b"val/ceiling_gIoU" in events
    for name in ("tokens", "passes", "seconds"):
        assert float(trainer.callback_metrics[f"val/{name}_per_mask"]) > 0


@pytest.mark.filterwarnings("ignore:.*(num_workers|sanity_check|batch_size).*")
def test_unreadable_answers_do_not_stop_the_fit(tmp_path):
    _, _, score, _ = fit(tmp_path, ["", "\x00| * *\n", "<seg></seg>", "others *"], epochs=1)
    assert score.values["val/invalid"] > 0
    assert score.values["val/cIoU"] == 0.0


@pytest.mark.filterwarnings("ignore:.*(num_workers|sanity_check|batch_size|engine is hf).*")
def test_a_label_that_the_grammar_cannot_write_does_not_stop_the_fit(tmp_path, monkeypatch):
    def refused(_: Grammar) -> None:
        raise UnwritableError("the label 'café'")

    monkeypatch.setattr(Grammar, "check", refused)
    score = Score(DecodingSettings(grammar="on"))
    options = {"logger": False, "enable_progress_bar": False, "default_root_dir": tmp_path}
    trainer = Trainer(accelerator="cpu", max_epochs=1, callbacks=[score], **options)
    module = Module([good(item) for batch in batches() for item in batch["items"]])
    with pytest.warns(UserWarning, match=r"answered with decoding.grammar=report: .*cannot write the label 'café'"):
        trainer.fit(module)
    assert score.values["val/ok"] == 1


@pytest.mark.parametrize(
    ("found", "rightly", "expected"),
    [(1.0, 0.0, True), (0.4, 0.0, False), (0.6, 0.6, False), (1.0, 0.6, True), (1.0, 1.0, False)],
)
def test_collapse_is_measured_on_items_that_show_something(found, rightly, expected):
    assert collapsed({"all_others": found, "ceiling_all_others": rightly}) is expected
