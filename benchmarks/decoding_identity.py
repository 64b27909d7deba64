"""Does draft and verify write what Hugging Face's `generate` writes? Every family, tiny random weights, float64.

    python benchmarks/decoding.py identity                        1000 prompts on LLaVA, 100 on each other family
    python benchmarks/decoding.py identity --prompts 100 --others 8 --families llava auto:qwen2_vl --dtype float32
    python benchmarks/decoding.py identity --log FILE             killed and started again, it goes on

Each prompt has a picture, a question and labels of its own and asks for an 8x8 grid. Three kinds of answers:
`random` is what random weights say; `grammar` is what they say when only the language of descriptors may be written;
`teacher` is a right answer with mistakes: a bonus on the next right token, which the model outvotes now and then. The
bonus that makes it so differs from family to family: on the first prompts one is looked for with which a third to four
fifths of a single draft are right (`--loud` sets it).
Drafts are geometric, of 12 tokens in 1 branch (batch 1 and 8) and of 24 in 4 (batch 4).
Printed a line: texts that are equal, the share of drafted tokens that were right, tokens a pass. In float32 each text
that differs is listed with the distance of the two tokens' logits at the place where they part.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from checkpoints import picture
from fake_item import FakeItem
from teacher import Teacher, plain

from text4seg.decoding.drafts.geometry import GeometryDrafter
from text4seg.decoding.drafts.habits import Habits
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.decoding.engine.answering import Counts
from text4seg.decoding.engine.fitness import unfit
from text4seg.decoding.engine.loop import Fixed
from text4seg.decoding.engine.prefix import rows_of
from text4seg.decoding.engine.structured import Plan, write
from text4seg.decoding.language.mask import Follower, GrammarMask, LanguageEnds
from text4seg.decoding.language.tracker import trackers
from text4seg.decoding.settings import ON, DecodingSettings
from text4seg.descriptors import LabelGrid, answer, encode
from text4seg.models.registry import load_backbone

TESTS = Path(__file__).resolve().parents[1] / "tests"
SIZE, GROUP = (8, 8), 8
SHAPES = ((1, 12, 1), (4, 24, 4), (8, 12, 1))
"""Batch, width and branches of what is compared with plain generation."""
THINGS = ("red car", "dog", "cat", "dog house", "tree", "the second man from the left", "猫", "bike")
FREE = 40
"""Tokens of an answer that nobody ends."""
KINDS = ("random", "grammar", "teacher")
WANTED = (0.35, 0.8)
"""Share of a single draft that is to be right behind the teacher; of a tree it is about two thirds of that."""
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Asked:
    """Prompts of one batch, what is asked for, the right answers' tokens, and most tokens of an answer and a prompt."""

    prompts: dict[str, torch.Tensor]
    items: list[FakeItem]
    scripts: list[list[int]]
    longest: int
    width: int

    def rows(self, start: int, stop: int) -> Asked:
        """Some of them."""
        these = range(start, min(stop, len(self.items)))
        items, scripts = ([part[n] for n in these] for part in (self.items, self.scripts))
        return replace(self, prompts=rows_of(self.prompts, these), items=items, scripts=scripts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--prompts", type=int, default=1000, help="on LLaVA")
    parser.add_argument("--others", type=int, default=100, help="prompts on each other family")
    parser.add_argument("--families", nargs="*", help="as tests/models/conftest.py names them; all where left out")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--dtype", default="float64", choices=("float64", "float32", "bfloat16"))
    parser.add_argument(
        "--loud", type=float, help="of the teacher: the higher, the fewer mistakes; found where left out"
    )
    parser.add_argument("--log", type=Path, help="what is finished is kept here and not done again")


def run(options: argparse.Namespace) -> None:
    """Compare, and print."""
    torch.set_num_threads(1)
    fixtures = _fixtures()
    print(
        f"{'family':24}{'kind':9}{'batch':>6}{'prompts':>9}{'equal':>7}{'right drafts':>14}{'tokens a pass':>15}",
        flush=True,
    )
    found = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        checkpoints = fixtures.Checkpoints(Path(folder))
        for family in options.families or fixtures.FAMILIES:
            count = options.prompts if family == "llava" else options.others
            asked = [(family, kind, count, options.dtype, options.loud) for kind in options.kinds]
            known = {tuple(line["asked"]): line for line in _logged(options.log)}
            backbone = None
            for kind, key in zip(options.kinds, asked, strict=True):
                if key not in known:
                    backbone = backbone or _loaded(checkpoints, family, options.dtype)
                    known[key] = _compare(backbone, family, kind, count, options) | {"asked": key}
                    if options.log:
                        with options.log.open("a", encoding="utf-8") as stream:
                            stream.write(json.dumps(known[key]) + "\n")
                _tell(known[key])
                found.append(known[key])
    texts, equal = (sum(line["texts"] for line in found), sum(sum(line["equal"]) for line in found))
    print(f"{equal} of {texts} texts equal")
    right = [share for line in found if line["asked"][1] == "teacher" for share in line["right"]]
    if right:
        print(f"right drafts behind the teacher: {min(right):.0%} to {max(right):.0%}")


def _logged(path: Path | None) -> list[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _loaded(checkpoints: Any, family: str, dtype: str) -> Any:
    backbone = load_backbone(checkpoints.settings(family))
    backbone.core.set_attn_implementation("sdpa")  # plain attention rounds to float32
    backbone.model.to(getattr(torch, dtype)).eval()
    return backbone


def _tell(line: dict[str, Any]) -> None:
    family, kind, count, _, _ = line["asked"]
    for (batch, _, _), equal, right, rate in zip(SHAPES, line["equal"], line["right"], line["rate"], strict=True):
        print(f"{family:24}{kind:9}{batch:6}{count:9}{equal:7}{right:14.1%}{rate:15.2f}")
    for place, gap in line["parted"]:
        print(f"{'':24}a text parts at token {place}, where the two tokens' logits differ by {gap:.2e}")
    loud = f", loud {line['loud']:.2f}" if line["loud"] else ""
    print(f"{'':24}{line['seconds']:.0f} s of CPU{loud}", flush=True)


def _compare(backbone: Any, family: str, kind: str, count: int, options: argparse.Namespace) -> dict[str, Any]:
    """What became of the texts of all batch sizes."""
    begin = time.process_time()
    habits, spelling = Habits(), Spelling(backbone.processor.tokenizer)
    equal = dict.fromkeys(SHAPES, 0)
    spent = {shape: Counts() for shape in SHAPES}
    parted = []
    loud = 0.0
    for asked in _batches(backbone, count, np.random.default_rng(0)):
        if kind == "teacher" and not loud:
            loud = options.loud or _loudness(backbone, asked, spelling)
        wanted = _plainly(backbone, asked, kind, loud)
        for shape in SHAPES:
            for start in range(0, len(asked.items), shape[0]):
                some = asked.rows(start, start + shape[0])
                tokens, counts = _drafted(backbone, some, kind, loud, shape, spelling, habits)
                spent[shape].add(counts)
                for row, said in enumerate(tokens):
                    other = wanted[start + row]
                    said = _stripped(said, backbone.processor.pad_id)  # random weights may say the padding token
                    equal[shape] += said == other
                    if said != other:
                        parted.append(_parting(backbone, some.rows(row, row + 1), kind, loud, said, other))
    return {
        "texts": count * len(SHAPES),
        "equal": list(equal.values()),
        "right": [_right(counts) for counts in spent.values()],
        "rate": [counts.tokens / max(counts.passes, 1) for counts in spent.values()],
        "parted": parted,
        "loud": loud,
        "seconds": time.process_time() - begin,
    }


def _drafted(
    backbone: Any, asked: Asked, kind: str, loud: float, shape: Shape, spelling: Spelling, habits: Habits
) -> tuple[list[list[int]], Counts]:
    """What draft and verify writes, and what it cost."""
    _, width, branches = shape
    drafters = [GeometryDrafter.of_item(spelling, item, habits) for item in asked.items]
    plan = replace(_plan(backbone, asked, kind, loud), drafters=drafters, widths=Fixed(width), branches=branches)
    made = write(backbone, asked.prompts, asked.items, _bound(backbone, asked, kind), plan)
    return made.tokens, made.counts


def _right(counts: Counts) -> float:
    return counts.accepted / max(counts.drafted, 1)


def _loudness(backbone: Any, asked: Asked, spelling: Spelling) -> float:
    """How loud a teacher has to be for drafts that are right as often as `WANTED` says."""
    low, high, loud = 0.0, math.inf, 1.6
    for _ in range(10):
        _, counts = _drafted(backbone, asked, "teacher", loud, SHAPES[-1], spelling, Habits())
        right = _right(counts)
        if WANTED[0] <= right <= WANTED[1]:
            break
        low, high = (loud, high) if right < WANTED[0] else (low, loud)
        loud = low * 2 if math.isinf(high) else (low + high) / 2
    return loud


def _batches(backbone: Any, count: int, rng: np.random.Generator) -> Iterator[Asked]:
    """Prompts in batches of `GROUP`; every third picture is asked about twice."""
    tokenizer, dtype = backbone.processor.tokenizer, next(backbone.model.parameters()).dtype
    for first in range(0, count, GROUP):
        items, encoded, scripts = [], [], []
        for number in range(first, min(first + GROUP, count)):
            chosen = rng.choice(len(THINGS), rng.integers(1, 4), replace=False)
            labels = ("others", *(THINGS[n] for n in chosen))
            words = " and ".join(labels[1:])
            item = FakeItem(
                np.zeros(SIZE, np.uint8), labels, question=f"Where is {words} in picture {number}?", size=SIZE
            )
            shown = picture(number - (number % 3 == 2))
            items.append(item)
            encoded.append(backbone.processor.encode(shown, [(item.question, None)]))
            text = answer(f"Here is {words}:", encode(LabelGrid(_blobs(rng, len(labels)), labels)))
            scripts.append(tokenizer(text, add_special_tokens=False)["input_ids"])
        prompts = backbone.processor.collate(encoded, "left")
        prompts = {k: v.to(dtype) if v.is_floating_point() else v for k, v in prompts.items()}
        yield Asked(prompts, items, scripts, max(map(len, scripts)), prompts["input_ids"].shape[1])


def _blobs(rng: np.random.Generator, labels: int) -> np.ndarray:
    """A grid with a disc of each label."""
    rows, cols = np.indices(SIZE)
    ids = np.zeros(SIZE, int)
    for label in range(1, labels):
        row, col, radius = rng.uniform(0, 8), rng.uniform(0, 8), rng.uniform(1, 4)
        ids[(rows - row) ** 2 + (cols - col) ** 2 < radius**2] = label
    return ids


def _bound(backbone: Any, asked: Asked, kind: str) -> int:
    """Tokens of an answer; where longer ones are written by plain generation only, the most that are not."""
    most = {"random": FREE, "grammar": 1200}.get(kind, asked.longest + 8)
    return next(bound for bound in range(most, 0, -1) if unfit(backbone, asked.width + bound) is None)


def _plan(backbone: Any, asked: Asked, kind: str, loud: float) -> Plan:
    """Languages and the teacher; drafts are added."""
    if kind == "grammar":
        return Plan(trackers=_trackers(backbone, asked))
    if kind == "teacher":
        return Plan(adjust=Teacher(asked.scripts, 0, loud).adjust)
    return Plan()


def _trackers(backbone: Any, asked: Asked) -> list[Any]:
    vocabulary = backbone.core.get_output_embeddings().weight.shape[0]
    settings = DecodingSettings(grammar=ON, preamble=6)
    return list(trackers(backbone.processor.tokenizer, asked.items, settings, vocabulary, ()))


def _plainly(backbone: Any, asked: Asked, kind: str, loud: float) -> list[list[int]]:
    """What `generate` writes, each answer cut where it ends."""
    length = asked.prompts["input_ids"].shape[1]
    processors: list[Any] = []
    ends = None
    if kind == "grammar":
        follower = Follower(_trackers(backbone, asked), length)
        processors, ends = [GrammarMask(follower)], LanguageEnds(follower)
    if kind == "teacher":
        processors = [Teacher(asked.scripts, length, loud)]
    said = plain(backbone, asked.prompts, asked.items, _bound(backbone, asked, kind), processors, ends=ends)
    return [_stripped(row, backbone.processor.pad_id) for row in said]


def _stripped(row: list[int], pad: int) -> list[int]:
    """Without the padding behind an answer that ended before others."""
    end = len(row)
    while end and row[end - 1] == pad:
        end -= 1
    return row[:end]


def _parting(
    backbone: Any, asked: Asked, kind: str, loud: float, said: Sequence[int], other: Sequence[int]
) -> tuple[int, float]:
    """Where two texts part, and by how much the logits of the two tokens differ there."""
    place = next((n for n, (a, b) in enumerate(zip(said, other, strict=False)) if a != b), None)
    if place is None:
        return min(len(said), len(other)), float("nan")
    ids = torch.cat([asked.prompts["input_ids"], torch.tensor([said[:place]], dtype=torch.long)], 1)
    more: dict[str, torch.Tensor] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in asked.prompts:
            kept = asked.prompts[name]
            more[name] = torch.cat([kept, kept.new_full((1, place), int(name == "token_type_ids"))], 1)
    logits = backbone.model(**{**asked.prompts, **more}).logits[0, -1].float()
    if kind == "teacher":
        logits = Teacher(asked.scripts, 0, loud).adjust(0, said[:place], logits)
    return place, float((logits[said[place]] - logits[other[place]]).abs())


def _fixtures() -> Any:
    """The tests' tiny checkpoints."""
    spec = importlib.util.spec_from_file_location("fixtures", TESTS / "models" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
