"""How questions are put to examples, and the published way of doing it. Plain dataclass; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TaskSettings:
    """How questions are put to examples."""

    compat: str | None = None
    """text4seg_v1: sample as the published builders do; other options go over it (see `PRESETS`)."""
    turns: int = 1
    """Questions a sample."""
    repeats: int = 1
    """How often an example is visited; each visit draws its crop and its questions anew."""
    crops: list[int] = field(default_factory=list)
    """Sides in pixels of square crops; one that fits is drawn, else the shorter side of the picture is taken. Published:
    256, 336, 392, 448. Empty: the whole picture."""
    uniform: bool = True
    """False: leave out pictures and crops whose semantic mask holds one single value."""
    void: str = "ignore"
    """ignore: pixels without annotation are neither taught nor scored; others: they are background (published)."""
    weights: dict[str, float] = field(default_factory=dict)
    """Task `mix`: weights of the tasks that a turn is drawn from; `first` below may fix the first one. Task
    `semantic` defaults to all 1, partial 3, conditioned 6 (paper, section 3.2)."""
    first: str | None = None
    """Task of the first turn, when the mix should not draw it."""
    after_all: str | None = None
    """Task of a turn that follows an `all` turn, when the mix should not draw it (published: conditioned)."""
    phrases: str = "random"
    """random: one expression a referent; all: every expression is a sample of its own."""
    objects: int = 1
    """referring, generalized: most expressions that one question asks for together (1 to this many are drawn)."""
    further: str = "unasked"
    """Referents of a referring sample's later turns: unasked (each once) or any (drawn from the image, published)."""
    fixed_template: bool = False
    """Use the first template of each list instead of a drawn one (evaluation sets)."""
    templates: str | None = None
    """File with your own question and answer lists (YAML, or the published Python file)."""
    joiner: str = ", "
    """What stands between several labels in a question (published: `|`)."""
    tell_missing: bool = True
    """False: answers about what is not there open like all the others (published)."""
    absent: float = 0.9
    """conditioned: share of questions that also list classes which are not there."""
    others_listed: float = 0.5
    """conditioned: share of questions whose list holds `others`."""
    named: list[str] = field(default_factory=list)
    """partial / conditioned: always ask for exactly these classes."""
    every: bool = False
    """partial / conditioned: always ask for every class of the set, in its order (open-vocabulary evaluation)."""
    synonyms: float = 0.0
    """Share of the classes that a question calls by a synonym, where the source knows one."""
    synonyms_in: list[str] = field(default_factory=lambda: ["all", "partial", "conditioned"])
    """The tasks that use synonyms."""
    shared_synonyms: bool = False
    """True: also draw words that stand for several classes (published); such classes become one in the answer."""
    separators: str = "refuse"
    """Labels that hold a separator of the descriptor text: refuse (an error), escape (look-alike letters take its
    place), or skip (such an expression is counted and left out; a class of such a name is refused)."""


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "text4seg_v1": {
        "semantic": {
            "turns": 2,
            "repeats": 10,
            "crops": [256, 336, 392, 448],
            "uniform": False,
            "void": "others",
            "after_all": "conditioned",  # the published script means to draw here, but 0.4 < 0.4 never holds
            "joiner": "|",
            "synonyms": 0.8,
            "synonyms_in": ["all"],
            "shared_synonyms": True,
        },
        "referring": {"phrases": "all", "repeats": 2},
        "generalized": {"phrases": "all", "repeats": 2, "tell_missing": False},
    }
}
"""compat -> task -> options. Source: published data builders (COCO-Stuff; RES and GRES with one turn a sample)."""


def preset(task: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options with those of their `compat` below them.

    Raises:
        ValueError: no such preset, or none for this task.
    """
    name = options.get("compat")
    if name is None:
        return options
    if name not in PRESETS or task not in PRESETS[name]:
        known = "; ".join(f"{preset} for {', '.join(tasks)}" for preset, tasks in PRESETS.items())
        raise ValueError(f"there is no `task_options.compat`={name} for the task {task!r}; there is: {known}.")
    return {**PRESETS[name][task], **options}


def check(settings: TaskSettings) -> None:
    """Refuse values that no question can be drawn with.

    Raises:
        ValueError: naming the option.
    """
    for name in ("turns", "repeats", "objects"):
        if getattr(settings, name) < 1:
            raise ValueError(f"`task_options.{name}` must be 1 or more, got {getattr(settings, name)}.")
    for name in ("absent", "others_listed", "synonyms"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"`task_options.{name}` is a share from 0 to 1, got {getattr(settings, name)}.")
    if any(side < 1 for side in settings.crops):
        raise ValueError(f"`task_options.crops` must be sides in pixels, got {settings.crops}.")
    for name, words in CHOICES.items():
        if getattr(settings, name) not in words:
            *rest, last = words
            raise ValueError(
                f"`task_options.{name}` must be {', '.join(rest)} or {last}, got {getattr(settings, name)!r}."
            )


CHOICES: dict[str, tuple[str, ...]] = {
    "phrases": ("random", "all"),
    "further": ("unasked", "any"),
    "void": ("ignore", "others"),
    "separators": ("refuse", "escape", "skip"),
}
