"""A training in stages: what each teaches, which part learns how fast, and a stop at any step."""

from __future__ import annotations

import shutil
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from small import MODEL, SHORT, steps_of, write_config

from text4seg.callbacks.journal import Journal
from text4seg.config import Config, load
from text4seg.data.variants import Curriculum
from text4seg.fit import main
from text4seg.models.lora import choose_trained
from text4seg.models.module import Text4SegModule
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings, LossSettings, ModelSettings, OptimSettings
from text4seg.training.checks import check
from text4seg.training.settings import StageSettings
from text4seg.training.stages import phases_of, stage_lines, unfolded

STEPS = 12
STAGES = (
    "stages=[{name: cells, length: 1, train: [projector], lr: 1e-3, answer: false},"
    " {name: dense, length: 2, codec: full, grid: [2, 2], cells: 0.5, fade: 0.5},"
    " {name: runs, length: 3, train: [language], lr: 5e-4, cells: 0}]"
)
WORDS = [
    *MODEL,
    *SHORT,
    STAGES,
    "model.lora.projector=full",
    "loss.cells=1",
    "optim={lr: 2e-4, schedule: constant, warmup_ratio: 0}",
    f"trainer.steps={STEPS}",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    config = write_config(folder)
    assert main(["--config", str(config), *WORDS, f"run_dir={folder}/run"]) == 0
    return config, folder / "run"


def test_each_stage_has_its_rate(whole):
    rates = [float(line["lr"]) for line in steps_of(whole[1])]
    assert rates == pytest.approx([1e-3] * 2 + [2e-4] * 4 + [5e-4] * 6)


def test_a_stage_of_cells_teaches_no_answer(whole):
    answers = [int(line["answer_tokens"]) for line in steps_of(whole[1])]
    assert answers[:2] == [0, 0]
    assert min(answers[4:]) > 0, "from the end of the transition on"


@pytest.mark.parametrize("at", [1, 4, 7])  # inside each stage; 4 also inside the transition
def test_a_stop_in_any_stage_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch, at):
    config, complete = whole
    shutil.copytree(config.parent / "train", tmp_path / "train")
    usual = Journal.on_train_batch_end

    def interrupted(self, trainer, *args, **kwargs):
        usual(self, trainer, *args, **kwargs)
        if trainer.global_step == at:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "on_train_batch_end", interrupted)
        assert main(["--config", str(config), *WORDS, f"run_dir={tmp_path}/run"]) == 130
    assert len(steps_of(tmp_path / "run")) == at
    assert main(["--resume", str(tmp_path / "run")]) == 0
    same = ("step", "loss", "lr", "order", "answer_tokens")
    lines = [[[line[name] for name in same] for line in steps_of(run)] for run in (tmp_path / "run", complete)]
    assert lines[0] == lines[1]
    one, other = (load_file(run / "adapter-last/adapter_model.safetensors") for run in (tmp_path / "run", complete))
    assert all(torch.equal(one[name], other[name]) for name in one)


def staged_module(config: Config) -> Text4SegModule:
    sizes = {"image": 32, "patch": 8, "width": 32, "vision_layers": 1, "language_layers": 1}
    settings = ModelSettings(path="random", options=sizes, lora=LoraSettings(projector="full"))
    backbone = load_backbone(settings)
    choose_trained(backbone, settings)
    return Text4SegModule(backbone, LossSettings(), config.optim, 1000, phases_of(config))


def test_a_part_that_is_not_named_stands_still():
    config = Config(stages=[StageSettings("first", train=["projector"]), StageSettings("second", train=["language"])])
    config.optim = OptimSettings(lr=1e-2, warmup_ratio=0.0)
    module = staged_module(config)
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    for step in range(1000):
        if step in (0, 500):
            before = {name: p.detach().clone() for name, p in trained.items()}
            for weight in trained.values():
                weight.grad = torch.ones_like(weight)
            optimizer.step()
            moved = {name for name, p in trained.items() if not torch.equal(before[name], p)}
            assert moved == {name for name in trained if ("projector" in name) == (step == 0)}
        else:
            optimizer.zero_grad()
            optimizer.step()
        schedule.step()


def test_a_stage_cannot_train_what_does_not_train():
    config = Config(stages=[StageSettings("eyes", train=["vision"])])
    with pytest.raises(ValueError, match=r"a stage trains `vision`.*`model\.lora`"):
        staged_module(config)


stages = st.lists(
    st.tuples(st.floats(0.01, 100), st.just(0.0) | st.floats(0, 1), st.sampled_from([[2, 2], [8, 8]])),
    min_size=1,
    max_size=5,
)


@given(stages, st.integers(1, 5000), st.data())
def test_phases_and_curriculum_change_at_the_same_step(drawn, steps, data):
    made = [StageSettings(f"s{n}", length, grid=grid, fade=fade) for n, (length, fade, grid) in enumerate(drawn)]
    config = Config(stages=made)
    check(config)
    progress = data.draw(st.integers(0, steps - 1)) / steps
    weights = {name: w for name, w in Curriculum(unfolded(config)).weights(progress).items() if w > 0}
    ends = [phase.until for phase in phases_of(config)]
    number = next(n for n, end in enumerate(ends) if progress < end)
    start = ends[number - 1] if number else 0.0
    assert sum(weights.values()) == pytest.approx(1)
    assert set(weights) <= {f"s{number}", f"s{number - 1}"}
    if not number or progress >= start + made[number].fade * (ends[number] - start):
        assert set(weights) == {f"s{number}"}
    assert len(list(stage_lines(config, steps))) == len(made)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages=[{nmae: a}]", r"`stages\[0\].nmae` is no setting; did you mean `stages\[0\].name`"),
        ("stages={name: a}", r"`stages` is a list of settings \(name, "),
        ("stages=[a]", r"`stages` is a list of settings"),
        ("stages.0.lr=1", r"`stages` is a list of settings"),
        ("stages=[{length: 1}]", r"`stages\[0\]` needs a `name`"),
        ("stages=[{name: a}, {name: a}]", r"`stages\[0\]` needs a `name` that no other"),
        ("stages=[{name: a, length: 0}]", r"`stages\[0\]`\.length must be above 0"),
        ("stages=[{name: a, fade: 2}]", r"`stages\[0\]`\.fade must be 0 to 1"),
        ("stages=[{name: a, lr: -1}]", r"`stages\[0\]`\.lr must be 0 or more"),
        ("stages=[{name: a, cells: -1}]", r"`stages\[0\]`\.cells must be 0 or more"),
        ("stages=[{name: a, train: [head]}]", r"`stages\[0\]`\.train may hold vision, projector, language, got 'head'"),
        ("stages=[{name: a, answer: false}]", r"`stages\[0\]`\.answer is false.*`cells`"),
        ("stages=[{name: a, grid: [0, 4]}]", r"`grid` must be \[rows, columns\]"),
        ("stages=[{name: a, codec: rle}]", r"`codec` must be one of"),
    ],
)
def test_stages_that_cannot_be_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        check(load("conf/compose.yaml", [text]))


def test_stages_and_a_curriculum_say_the_same_thing_twice():
    with pytest.raises(ValueError, match=r"`stages` stand in place of"):
        check(load("conf/tiny-pretrain.yaml", ["stages=[{name: a}]"]))
