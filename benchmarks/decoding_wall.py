"""Seconds a mask, on this machine: draft and verify beside plain `generate`, prompt lookup and batches.

    python benchmarks/decoding.py wall RUN [--which best] [--masks 24] [--threads 2]
    python benchmarks/decoding.py wall RUN --large [--masks 6]

RUN is a run folder; its validation questions are asked. Its model answers them, or with `--large` a random LLaVA of
TinyLlama's shape (1.1 B, bfloat16, or float32 where the processor only imitates that) behind a CLIP-L tower with 16x16
image tokens. With `--large`, and with `--right`, every real pass is paid but the choice is replaced by the right
answer's next token, whatever way of decoding asks.
Pictures and prompts are read within the time of each way; each is warmed up with one mask. A line a way: seconds a mask
(fastest, median, slowest; of a batch: its time over its masks); how often faster than plain `generate` at batch 1, the
loop of the published code (medians; by the clock, and by processor time, which counts on a busy machine); tokens and
passes a mask; texts equal to plain generation's (rounding may part them). Ways with drafts work on prepacked weights as
the product does (the copies are made before the clock starts), plain ones on the weights as they are, as the published
code does, but for the two that say otherwise. At last eight questions about one picture, beside plain generation that
is asked one at a time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from teacher import Teacher, plain

from text4seg.data.datamodule import folder_of
from text4seg.data.items import Item
from text4seg.data.shards.build import ensure
from text4seg.decoding.bound import token_bound
from text4seg.decoding.drafts.geometry import GeometryDrafter
from text4seg.decoding.drafts.habits import Habits
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.decoding.engine.cost import Measured, step_curve
from text4seg.decoding.engine.loop import Fixed, Widths
from text4seg.decoding.engine.prepack import prepacked
from text4seg.decoding.engine.structured import Plan, write
from text4seg.decoding.settings import DecodingSettings
from text4seg.descriptors import answer, encode, rasterize
from text4seg.models.backbone import Backbone
from text4seg.models.processor import ImageGeometry, Processor
from text4seg.report.evaluation import prompts_for
from text4seg.report.questions import Questions
from text4seg.report.run import load_run
from text4seg.training.hardware import emulated

MANY = 8
"""Masks of a batch, and questions about one picture."""
LOUD = 1e4
"""How far a right token is raised: no model objects."""


class Result(NamedTuple):
    """What a batch took."""

    seconds: float
    busy: float
    tokens: list[list[int]]
    passes: int


Answer = Callable[[Sequence[Item]], Result]


class Way(NamedTuple):
    """A way of decoding: so many masks at a time, on prepacked weights or as they are."""

    answer: Answer
    size: int = 1
    prepack: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("run")
    parser.add_argument("--which", default="best", help="best, last or base weights of the run")
    parser.add_argument("--large", action="store_true", help="a random model of 1.1 B in place of the run's")
    parser.add_argument("--right", action="store_true", help="replace the choices of the run's model as well")
    parser.add_argument("--masks", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", nargs="*", help="lines to measure; all where left out")


def run(options: argparse.Namespace) -> None:
    """Measure, and print."""
    torch.set_num_threads(options.threads)
    config, backbone = load_run(options.run, options.which)
    items = _items(config, max(options.masks, MANY))
    if options.large:
        backbone = large(backbone.processor)
        print(f"{backbone.loaded}, {backbone.core.dtype}", flush=True)
    backbone.model.eval()
    bench = Bench(backbone, options.large or options.right)
    curves = {}
    for prepack in (False, True):
        with prepacked(backbone, DecodingSettings(prepack=prepack)) as size:
            curves[prepack] = step_curve(backbone)
        told = f"prepacked ({size / 2**30:.2f} GiB)" if prepack else "as they are"
        print(f"weights {told}, seconds of a pass by its tokens: ", end="")
        print(", ".join(f"{n}: {s:.4f}" for n, s in curves[prepack].items()), flush=True)
    ways = _ways(bench, curves)
    about = [[replace(item, image=items[0].image) for item in items[:MANY]]]
    header = (
        f"{'way':30}{'min':>8}{'median':>8}{'max':>8}{'faster':>8}{'by cpu':>8}{'tokens':>8}{'passes':>8}{'equal':>8}"
    )
    print(header, flush=True)
    known = _measure(backbone, ways, [[item] for item in items[: options.masks]], options.ways)
    asked = {"plain": ways["plain"], f"{MANY} questions": ways[f"measured width, batch {MANY}"]}
    if known and (options.ways is None or f"{MANY} questions" in options.ways):
        print(f"{MANY} questions about one picture")
        _measure(backbone, asked, [[item] for batch in about for item in batch], None)


def _ways(bench: Bench, curves: dict[bool, dict[int, float]]) -> dict[str, Way]:
    """All that are measured, by name; `curves` are for weights as they are (False) and prepacked (True)."""

    def drafted(width: int) -> Answer:
        return bench.drafted(lambda: Fixed(width))

    def measured(prepack: bool = True) -> Answer:
        return bench.drafted(lambda: Measured(curves[prepack]))

    return {
        "plain": Way(bench.plain),
        "plain, prepacked": Way(bench.plain, prepack=True),
        "prompt lookup": Way(bench.lookup),
        f"plain, batch {MANY}": Way(bench.plain, MANY),
        **{f"drafts of {width}": Way(drafted(width), prepack=True) for width in (8, 16, 48)},
        "tree of 48": Way(bench.drafted(lambda: Fixed(48), branches=10), prepack=True),
        "measured width": Way(measured(), prepack=True),
        "measured, not prepacked": Way(measured(False)),
        f"measured width, batch {MANY}": Way(measured(), MANY, prepack=True),
    }


def _measure(
    backbone: Any, ways: dict[str, Way], singles: Sequence[Sequence[Item]], only: Sequence[str] | None
) -> bool:
    """Print a line a way."""
    items = [item for batch in singles for item in batch]
    base, busy_base, texts = None, None, {}
    for name, way in ways.items():
        if only is not None and name not in only:
            continue
        batches = [items[start : start + way.size] for start in range(0, len(items), way.size)]
        with prepacked(backbone, DecodingSettings(prepack=way.prepack)):
            way.answer(items[:1])  # kernels are prepared, tables are filled
            results = [way.answer(batch) for batch in batches]
        each = np.array([result.seconds / len(batch) for result, batch in zip(results, batches, strict=True)])
        said = [row for result in results for row in result.tokens]
        busy = np.median([result.busy / len(batch) for result, batch in zip(results, batches, strict=True)])
        base, busy_base = (np.median(each), busy) if base is None else (base, busy_base)
        texts = texts or dict(enumerate(said))
        equal = np.mean([texts[number] == row for number, row in enumerate(said)])
        tokens, passes = sum(map(len, said)) / len(said), sum(result.passes for result in results) / len(said)
        gains = f"{base / np.median(each):8.2f}{busy_base / busy:8.2f}"
        times = "".join(f"{value:8.3f}" for value in (each.min(), np.median(each), each.max()))
        print(
            f"{name:30}{times}{gains}{tokens:8.1f}{passes:8.1f}{equal:8.0%}",
            flush=True,
        )
    return base is not None


class Bench:
    """The ways of decoding, on one model."""

    def __init__(self, backbone: Any, right: bool) -> None:
        self._backbone, self._right = backbone, right
        self._spelling = Spelling(backbone.processor.tokenizer)

    def plain(self, items: Sequence[Item], lookup: int | None = None) -> Result:
        """Hugging Face's greedy loop."""
        begin, busy = time.perf_counter(), time.process_time()
        prompts = self._prompts(items)
        teacher = self._teacher(items, prompts["input_ids"].shape[1])
        passes = _Passes(self._backbone)
        said = plain(self._backbone, prompts, items, self._bound(items), [teacher] if teacher else [], lookup)
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
        pad = self._backbone.processor.pad_id
        for row in said:
            while row and row[-1] == pad:
                row.pop()
        return Result(seconds, busy, said, (passes.stop() - 1) * len(items))

    def lookup(self, items: Sequence[Item]) -> Result:
        """The same with transformers' prompt lookup."""
        return self.plain(items, 10)

    def drafted(self, widths: Callable[[], Widths], branches: int = 1) -> Answer:
        """Draft and verify; what is learnt of widths and outlines is kept from mask to mask."""
        chosen, habits = widths(), Habits()

        def way(items: Sequence[Item]) -> Result:
            begin, busy = time.perf_counter(), time.process_time()
            prompts = self._prompts(items)
            teacher = self._teacher(items, 0)
            drafters = [GeometryDrafter.of_item(self._spelling, item, habits) for item in items]
            adjust = teacher.adjust if teacher else None
            plan = Plan(drafters=drafters, widths=chosen, branches=branches, adjust=adjust)
            said, spent, _ = write(self._backbone, prompts, items, self._bound(items), plan)  # type: ignore[arg-type]
            return Result(time.perf_counter() - begin, time.process_time() - busy, said, spent.passes)

        return way

    def _prompts(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        dtype = next(self._backbone.model.parameters()).dtype
        made = prompts_for(self._backbone, items)
        return {name: part.to(dtype) if part.is_floating_point() else part for name, part in made.items()}

    def _bound(self, items: Sequence[Item]) -> int:
        return token_bound(self._backbone.processor.tokenizer, items)

    def _teacher(self, items: Sequence[Item], prompt: int) -> Teacher | None:
        if not self._right:
            return None
        end = self._backbone.processor.tokenizer.eos_token_id
        return Teacher([[*self._script(item), end] for item in items], prompt, LOUD)

    def _script(self, item: Item) -> list[int]:
        grid = rasterize(item.mask, item.labels, item.size, item.rule, 255)
        text = answer(f"Here is {item.labels[-1]}:", encode(grid, item.codec))
        return self._backbone.processor.tokenizer(text, add_special_tokens=False)["input_ids"]


class _Passes:
    """Counts the decoder's passes."""

    def __init__(self, backbone: Any) -> None:
        self._count = 0
        self._handle = backbone.part("language").register_forward_hook(self._add)

    def _add(self, *_: Any) -> None:
        self._count += 1

    def stop(self) -> int:
        """How many there were."""
        self._handle.remove()
        return self._count


def large(like: Any) -> Backbone:
    """A random LLaVA of 1.1 B with another model's tokenizer."""
    tokenizer = like.tokenizer
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
    )
    text = LlamaConfig(
        vocab_size=max(len(tokenizer), like.image_token_id + 1),
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=like.image_token_id, image_seq_length=256
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if emulated("bf16-true", "cpu") else torch.bfloat16)
    try:
        model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    made = Processor(tokenizer, ImageGeometry(224, 256), like.image_token_id, like.chat, "first")
    return Backbone(model, made, loaded="RANDOM weights")


def _items(config: Any, count: int) -> list[Item]:
    """The first validation questions of a run."""
    data = config.data
    if data.val.build is not None:
        ensure(data.val.build, folder_of(data.val), tuple(data.grid), data.codec, data.rule)
    questions = Questions(folder_of(data.val, "val"), data)
    return [question.item for question, _ in zip(questions, range(count), strict=False)]
