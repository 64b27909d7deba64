"""Questions and answer openers in this project's own words, and a loader for a user's own lists.

A task picks the family: `all` (label everything), `partial` / `referring` / `generalized` (segment what is named),
`conditioned` (segment what is on a list, present or not), `parts` (an object's parts). Slots: ``{labels}``, in `parts`
the object. Several labels are joined by ``", "`` unless told otherwise. A target that is not there gets its own
*answers*; its questions are drawn from the same list as every other question, since a question of its own would give
the answer away.
Source: template families of Text4Seg (arXiv 2410.09855), section 3.2; the wording is ours.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

JOINER = ", "
SLOT = "{labels}"
FAMILIES = {
    "all": "all",
    "partial": "partial",
    "referring": "partial",
    "generalized": "partial",
    "conditioned": "conditioned",
    "parts": "parts",
}
NO_TARGET = "no_target"
KINDS = ("questions", "answers")
TAGS = ("<seg>", "</seg>")
OFFICIAL_LISTS = {"ALL": "all", "PARTIAL": "partial", "CONDITION": "conditioned", "OBJECT_ALL": "parts"}
OFFICIAL_SLOTS = ("[class_name]", "[object]")

QUESTIONS: dict[str, tuple[str, ...]] = {
    "all": (
        "Segment every object in this image.",
        "What is where in this picture? Answer with a label map.",
        "Label each region of the image.",
        "Give me a full segmentation of this photo.",
        "Divide the image into labelled regions.",
        "Produce a semantic map of the whole image.",
        "Name every part of this picture and show where it lies.",
        "Mark all classes that you can find here.",
        "Break this scene down into its classes.",
        "Map the entire image, class by class.",
        "Show me the layout of everything in the image.",
        "Tell me the class of each place in this picture.",
        "Please write the complete label map of this image.",
        "Which classes appear here, and where? Segment them.",
    ),
    "partial": (
        "Segment {labels} in this image.",
        "Where is {labels}? Answer with a mask.",
        "Mark the region of {labels}.",
        "Outline {labels} for me.",
        "Please find {labels} and write its mask.",
        "Show which part of the picture is {labels}.",
        "Give me the mask of {labels}.",
        "Locate {labels} and segment it.",
    ),
    "conditioned": (
        "Segment the image with these classes: {labels}.",
        "Use only the labels {labels} to map this picture.",
        "Which of {labels} are here? Show where.",
        "Out of {labels}, segment whatever is present.",
        "Label the image, choosing from: {labels}.",
        "Map this scene with the vocabulary {labels}.",
        "Given the list {labels}, write the label map.",
        "Look for {labels} and segment those that you see.",
    ),
    "parts": (
        "Segment the {labels} into its parts.",
        "Which parts does the {labels} have? Map them.",
        "Label each part of the {labels}.",
        "Take the {labels} apart: where is each part?",
        "Give me a part map of the {labels}.",
        "Show the parts of the {labels}, one by one.",
    ),
}
ANSWERS: dict[str, tuple[str, ...]] = {
    "all": (
        "Here is the label map:",
        "The whole image, segmented:",
        "Sure, this is the full map:",
        "The regions are as follows:",
        "This is how the scene divides:",
        "Every region with its label:",
        "The picture, class by class:",
        "Segmentation of the image:",
        "I see these regions:",
        "The complete map is:",
        "Here is everything I found:",
        "Labels for each place:",
    ),
    "partial": (
        "Here is the mask:",
        "The mask is:",
        "Sure, this is the region:",
        "It lies here:",
        "Found it:",
        "This is the area:",
        "The region you asked for:",
        "Its mask reads:",
        "Segmented as asked:",
        "Here it is:",
        "That part of the image is:",
    ),
    "conditioned": (
        "Here is the map with those labels:",
        "Using your list:",
        "From the given classes I found:",
        "The listed classes lie here:",
        "With that vocabulary the map is:",
        "Sure, limited to your labels:",
        "The map over the given list:",
        "These of your classes are present:",
        "Restricted to the list, I see:",
        "Only the classes you named:",
        "Checked each class on the list:",
        "The answer in your vocabulary:",
        "Those classes, where present:",
        "Map of the requested classes:",
    ),
    "parts": (
        "These are its parts:",
        "Part by part:",
        "The part map is:",
        "Its parts lie here:",
        "Here is each part:",
    ),
}
NO_TARGET_ANSWERS: tuple[str, ...] = (
    "I see nothing like that:",
    "There is no such thing here:",
    "Not in this picture:",
    "That is not present:",
    "I could not find it:",
)


@dataclass(frozen=True)
class Templates:
    """Question and answer lists by family; the defaults are this project's own."""

    questions: dict[str, tuple[str, ...]] = field(default_factory=lambda: QUESTIONS)
    answers: dict[str, tuple[str, ...]] = field(default_factory=lambda: ANSWERS)
    no_target_answers: tuple[str, ...] = NO_TARGET_ANSWERS
    joiner: str = JOINER

    def ask(self, task: str, labels: Sequence[str], rng: random.Random, *, found: bool = True) -> tuple[str, str]:
        """Draw a question and an answer opener.

        Args:
            task: one of `FAMILIES`.
            labels: what is asked for (without ``others``); ignored by ``all``.
            rng: the draw's only source of chance. The question is drawn first, so that it cannot depend on `found`.
            found: whether anything asked for is in the picture.

        Raises:
            ValueError: unknown task.
        """
        family = _family(task)
        question = rng.choice(self.questions[family])
        openers = self.answers[family] if found else self.no_target_answers
        return self._fill(question, labels), self._fill(rng.choice(openers), labels)

    def fixed(self, task: str, labels: Sequence[str], index: int = 0, *, found: bool = True) -> tuple[str, str]:
        """The question and answer opener number `index`: what evaluation uses, so that chance moves no score.

        `found` as in `ask`: a thing that is not there gets another opener, never another question.
        """
        family = _family(task)
        questions = self.questions[family]
        answers = self.answers[family] if found else self.no_target_answers
        question, opener = questions[index % len(questions)], answers[index % len(answers)]
        return self._fill(question, labels), self._fill(opener, labels)

    def _fill(self, template: str, labels: Sequence[str]) -> str:
        return template.replace(SLOT, self.joiner.join(labels))

    @classmethod
    def load(cls, path: str | Path) -> Templates:
        """Read a user's own lists.

        Args:
            path: YAML ``{family: {questions: [...], answers: [...]}}`` with ``{labels}`` slots, and ``{no_target:
                {answers: [...]}}`` for what is not there; or the published ``question_answer_list.py`` from a clone
                of the original repository (its literals are read, it is never run).

        Raises:
            ValueError: no such list, or one that is empty or not made of strings; a `partial` question has no slot;
                a text that would pass for a descriptor's tags.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"no template file at {path}; expected YAML or the published question_answer_list.py.")
        raw = _read_python(path) if path.suffix == ".py" else _read_yaml(path)
        questions, answers, missing = dict(QUESTIONS), dict(ANSWERS), NO_TARGET_ANSWERS
        for family, lists in raw.items():
            known = KINDS if family in QUESTIONS else KINDS[1:] if family == NO_TARGET else ()
            if not known:
                expected = ", ".join((*QUESTIONS, NO_TARGET))
                raise ValueError(f"{path}: unknown family {family!r}; expected one of {expected}.")
            for kind in lists:
                if kind not in known:
                    raise ValueError(f"{path}: `{family}` has no list {kind!r}; expected {' or '.join(known)}.")
                items = _checked(lists[kind], f"{path}: {family}.{kind}", family, kind)
                if family == NO_TARGET:
                    missing = items
                else:
                    (questions if kind == "questions" else answers)[family] = items
        return cls(questions, answers, missing)


DEFAULT = Templates()


def hint(codec: str, size: tuple[int, int]) -> str:
    """A suffix that names the format, for a model that is trained on several: ``" (8x8 full)"``."""
    return f" ({size[0]}x{size[1]} {codec})"


def _family(task: str) -> str:
    if task not in FAMILIES:
        raise ValueError(f"unknown task {task!r}; expected one of {', '.join(FAMILIES)}.")
    return FAMILIES[task]


def _checked(items: object, where: str, family: str, kind: str) -> tuple[str, ...]:
    if not isinstance(items, list) or not items or not all(isinstance(i, str) and i.strip() for i in items):
        raise ValueError(f"{where} must be a non-empty list of strings, got {items!r:.80}.")
    for item in items:
        if any(tag in item for tag in TAGS):
            raise ValueError(f"{where}: {item!r} holds {' or '.join(TAGS)}, between which only a descriptor may stand.")
    if kind == "questions" and family != "all":
        for item in items:
            if SLOT not in item:
                raise ValueError(f"{where}: the question {item!r} has no slot {SLOT}.")
    return tuple(items)


def _read_yaml(path: Path) -> dict[str, dict[str, object]]:
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        raise ValueError(f"{path} must map families to {{questions: [...], answers: [...]}}.")
    return raw


def _read_python(path: Path) -> dict[str, dict[str, object]]:
    raw: dict[str, dict[str, object]] = {}
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is not Python: {error}") from error
    for node in body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        kind, _, family = node.targets[0].id.partition("_")
        if kind not in ("QUESTION", "ANSWER") or family not in OFFICIAL_LISTS:
            continue
        try:
            found = ast.literal_eval(node.value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {node.targets[0].id} is not a plain list of strings.") from error
        if not isinstance(found, (list, tuple)) or not all(isinstance(item, str) for item in found):
            raise ValueError(f"{path}: {node.targets[0].id} is not a plain list of strings.")
        items = [item.replace(OFFICIAL_SLOTS[0], SLOT).replace(OFFICIAL_SLOTS[1], SLOT) for item in found]
        raw.setdefault(OFFICIAL_LISTS[family], {})["questions" if kind == "QUESTION" else "answers"] = items
    if not raw:
        raise ValueError(f"{path} holds no QUESTION_* / ANSWER_* lists of the published kind.")
    return raw
