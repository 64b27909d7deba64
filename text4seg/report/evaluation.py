"""Evaluate a run: answer every question of a set, score it, and write down answers, scores, a report and pictures.

What is written depends on the run, the set and the settings only, not on the number of processes or on how often the
evaluation was killed and started again; but for the block `timing` of the report, which says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from text4seg.callbacks.keeper import write_whole
from text4seg.config import Config
from text4seg.data.datamodule import folder_of, place_of
from text4seg.data.items import Item, Items
from text4seg.data.settings import DataSettings, SplitSettings
from text4seg.data.shards.build import ensure
from text4seg.data.stream import Seat
from text4seg.data.variants import Curriculum
from text4seg.decoding.engine.answering import Counts
from text4seg.decoding.engine.prepack import prepacked
from text4seg.decoding.generate import respond
from text4seg.decoding.settings import OFF, DecodingSettings
from text4seg.descriptors import parse
from text4seg.metrics.board import ScoreBoard
from text4seg.refine.refiner import Refiner, refiner

from .answer_log import Answered, AnswerLog
from .identity import digest
from .matching import Matcher
from .overlay import open_picture
from .pictures import draw_evaluation
from .questions import Batch, Questions
from .ranks import join, same_for_all, wait_for_all
from .record import record
from .run import load_run
from .settings import DecodingChanges, EvaluateSettings
from .stamp import made_on, made_with
from .summary import summarise
from .words import TEXT, apart, word_record, word_summary

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

SPREAD = "spread"
"""All GPUs of this machine together, for a model that one does not hold."""
DEVICES = ("auto", "cpu", "cuda", "mps", SPREAD)
ELSEWHERE = ("run", "name", "device", "batch_size", "ahead")
"""Settings that stand elsewhere in the report than under `settings`."""
Tell = Callable[[int, int | None, float], None]


class Evaluation(NamedTuple):
    """What an evaluation found: scores by name, IoU by class (class questions only), items scored, where it lies."""

    scores: dict[str, float]
    classes: dict[str, float]
    items: int
    folder: Path


@dataclass
class Examiner:
    """Puts questions to a model, so many at a time as it has slots, and scores what it answers."""

    backbone: Backbone
    decoding: DecodingSettings
    device: torch.device
    slots: int
    refine: Refiner | None = None
    match: Matcher | None = None

    def __post_init__(self) -> None:
        self.board = ScoreBoard(self.decoding.paint)

    def ask(self, batch: Batch) -> tuple[list[dict[str, Any]], Counts]:
        """A record for each question of a batch, and what the answers cost."""
        items = Items(question.item for question in batch.questions)
        prompts = prompts_for(self.backbone, items)
        words = batch.questions[0].item.task == TEXT  # a batch holds one kind; descriptors' grammar is not for words
        decoding = replace(self.decoding, grammar=OFF) if words else self.decoding
        answers = respond(self.backbone, prompts, items, decoding, self.slots)
        tokenizer = self.backbone.processor.tokenizer
        made = []
        lines = zip(batch.questions, answers.texts, answers.left, answers.confidence, strict=True)
        for question, text, left, confidence in lines:
            item = question.item
            tokens = len(tokenizer(text, add_special_tokens=False)["input_ids"])
            if item.task == TEXT:
                made.append(word_record(question, text, tokens))
                continue
            decoded = parse(text, tuple(item.size), item.codec, item.labels[1:])
            decoded, matches = self.match(decoded, len(item.labels)) if self.match else (decoded, [])
            refined = None
            if self.refine is not None:
                name = f"{item.key}/{item.turn}/{question.wording}"
                refined = self.refine(decoded.grid, np.asarray(open_picture(item.image)), name)
            score = self.board.update(decoded, item, refined)
            made.append(record(question, decoded, score, tokens, matches, left, confidence))
        return made, answers.counts


def evaluate_run(settings: EvaluateSettings, tell: Tell | None = None) -> Evaluation:
    """Score a run and write ``RUN/eval/NAME/{report.json, report.html, items.jsonl, metrics.json, sheet.png}``.

    An evaluation that was killed goes on behind its last finished batch; one that has finished is done anew.

    Args:
        settings: which run, on what.
        tell: called after each batch with the questions answered so far by this process, how many there are for it
            (None: not known) and the mean IoU (in words: accuracy) of its answers.

    Raises:
        ValueError: when the run or the shards cannot be read, or no item is left to score.
    """
    assert settings.run is not None
    here = join()
    which = "base" if settings.before else settings.which
    config, backbone = load_run(settings.run, which, settings.device == SPREAD, dtype=settings.dtype)
    data = _data(settings, config)
    examiner = _examiner(settings, config, backbone, data.val_batch_size)
    if here.rank == 0:
        _ensure(data)
    wait_for_all()
    questions = Questions(place_of(data.val, data, "val"), data, settings.wording, settings.swap_questions)
    folder = Path(settings.run) / "eval" / settings.name
    folder.mkdir(parents=True, exist_ok=True)
    log = AnswerLog(folder, same_for_all(digest(settings, config, which, questions.index)), here.rank)
    size = data.val_batch_size * settings.ahead
    with nullcontext() if here.rank else log.alone():
        if here.rank == 0:
            log.discard_others()
        wait_for_all()
        with prepacked(backbone, examiner.decoding):
            count = _answer(questions, size, examiner, log, here, tell)
        wait_for_all()
        if here.rank:
            return Evaluation({}, {}, 0, folder)
        how = {
            "processes": here.world,
            "batch_size": data.val_batch_size,
            "ahead": settings.ahead,
            "device": str(examiner.device),
            "hardware": made_on(),
        }
        told = replace(settings, decoding=DecodingChanges(**vars(examiner.decoding)))  # also what the run decided
        found = _conclude(told, questions, log, count, how)
        log.remove()
    return found


def _answer(questions: Questions, size: int, examiner: Examiner, log: AnswerLog, here: Seat, tell: Tell | None) -> int:
    """Answer this rank's batches that no log holds yet; gives how many there are for all ranks together."""
    done = log.read()
    wait_for_all()  # nobody writes while others still read
    log.open()
    total = questions.total()
    share = None if total is None else -(-total // here.world)
    batches, count, ious = 0, 0, 0.0
    for batch in questions.batches(size):
        batches += 1
        if batch.number % here.world != here.rank:
            continue
        answered = done.get(batch.number)
        if answered is None:
            start = time.perf_counter()
            records, counts = examiner.ask(batch)
            answered = Answered(batch.number, time.perf_counter() - start, records, vars(counts))
            log.append(answered)
        count += len(answered.records)
        ious += sum(line.get("iou", line.get("accuracy")) for line in answered.records)
        if tell is not None:
            tell(count, share, ious / count)
    return batches


def _conclude(
    settings: EvaluateSettings, questions: Questions, log: AnswerLog, count: int, how: dict[str, Any]
) -> Evaluation:
    """Write the report of all ranks' answers, `count` batches; `how` they were had belongs to the timing."""
    batches = list(log.read().values())
    if len(batches) != count:
        raise ValueError(
            f"of {count} batches of answers {len(batches)} are in {log.folder}: something else wrote or removed files "
            "there. Start the evaluation again; it answers what is missing."
        )
    lines = [line for batch in batches for line in batch.records]
    if not lines:
        raise ValueError("there is no item to score: " + _why_none(settings))
    masks, words = apart(lines)
    folder = log.folder
    seconds = sum(batch.seconds for batch in batches)
    counts = Counts()
    for batch in batches:
        counts.add(Counts(**batch.counts))  # type: ignore[arg-type]
    report: dict[str, Any] = {
        "name": settings.name,
        "run": str(settings.run),
        "shards": str(questions.folder),
        **summarise(masks),
        "items": len(lines),
        "pictures": len({line["picture"] for line in lines}),
        "words": word_summary(words),
        "left_out": questions.broken,
        "settings": {name: value for name, value in asdict(settings).items() if name not in ELSEWHERE},
        "stamp": made_with(),
        "timing": {
            "seconds": round(seconds, 3),
            "items_per_second": round(len(lines) / seconds, 3) if seconds else None,
            **how,
            "decoding": vars(counts),
            "per_mask": per_mask(batches),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    }
    write_whole(folder / "items.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write_whole(folder / "report.json", json.dumps(report, indent=1) + "\n")
    report_scores = report["scores"] | ({"VQA": report["words"]["VQA"]} if words else {})
    scores = {f"{settings.name}/{name}": value for name, value in report_scores.items()}
    write_whole(folder / "metrics.json", json.dumps({**scores, f"{settings.name}/items": len(lines)}, indent=2) + "\n")
    draw_evaluation(report, masks, questions, folder, settings.sheet, settings.gallery)
    classes = {row["label"]: row["iou"] for row in report["classes"]}
    return Evaluation(scores, classes, len(lines), folder)


def per_mask(batches: Iterable[Answered]) -> dict[str, float]:
    """What a mask cost, on average; answers in words, whose batches are their own, are not counted."""
    counts, masks = Counts(), 0
    for batch in batches:
        if found := len(apart(batch.records)[0]):
            counts.add(Counts(**batch.counts))  # type: ignore[arg-type]
            masks += found
    return counts.per_mask(masks) if masks else {}


def place(backbone: Backbone, name: str) -> torch.device:
    """Put a model on the device of that name; gives the one that its inputs go to."""
    if name == SPREAD:  # loaded in its places already
        return next(backbone.model.parameters()).device
    device = torch.device(pick_device(name))
    backbone.to(device)
    return device


def pick_device(name: str) -> str:
    """The device that ``auto`` stands for; any other name as it is.

    Raises:
        ValueError: an unknown device, or one that is not there.
    """
    if name not in DEVICES:
        raise ValueError(f"`device` must be one of {', '.join(DEVICES)}, got {name!r}.")
    if name in ("cuda", "mps") and not getattr(torch, name).is_available():
        raise ValueError(f"`device` is {name}, but PyTorch sees no such device here; auto takes what there is.")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def prompts_for(backbone: Backbone, items: Items | Sequence[Item]) -> dict[str, torch.Tensor]:
    """Left-padded prompts that ask each item's question about its image."""
    processor = backbone.processor
    encoded = [processor.encode(open_picture(item.image), [(item.question, None)]) for item in items]
    return processor.collate(encoded, side="left")


def _examiner(settings: EvaluateSettings, config: Config, backbone: Backbone, slots: int) -> Examiner:
    changed = {name: value for name, value in vars(settings.decoding).items() if value is not None}
    device = place(backbone, settings.device)
    refine = None if settings.refine.name is None else refiner(settings.refine, device)
    return Examiner(backbone, replace(config.decoding, **changed), device, slots, refine, Matcher(settings.match))


def _data(settings: EvaluateSettings, config: Config) -> DataSettings:
    """The run's data settings with what this evaluation changes."""
    data, split = config.data, config.data.val
    if settings.shards is not None:  # as they are: the recipe of a protocol says how to build others
        split = SplitSettings(shards=settings.shards, limit=settings.limit)
    elif settings.build is not None:
        split = SplitSettings(build=settings.build, limit=settings.limit)
    elif settings.limit is not None:
        split = replace(split, limit=settings.limit)
    changed = replace(
        data,
        val=split,
        codec=settings.codec or data.codec,
        grid=settings.grid or data.grid,
        val_batch_size=settings.batch_size or data.val_batch_size,
    )
    Curriculum(changed)  # refuses a codec and a grid that cannot be, before shards are built for them
    return changed


def _ensure(data: DataSettings) -> None:
    """Build the shards of a recipe that are missing or were built otherwise, as `fit` does."""
    if data.val.build is not None:
        ensure(data.val.build, folder_of(data.val), (data.grid[0], data.grid[1]), data.codec, data.rule)


def _why_none(settings: EvaluateSettings) -> str:
    if settings.swap_questions:
        return "swap_questions needs pictures with at least two questions about one target each."
    return f"{settings.shards or 'the validation set of the run'} is empty."
