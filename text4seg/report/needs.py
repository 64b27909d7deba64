"""`build --check` for people: which of a source's files are there, and where to get the others."""

from __future__ import annotations

from text4seg.data.settings import BuildSettings
from text4seg.data.sources.registry import examples, needs
from text4seg.data.tasks.semantic import shared_words


def check_text(recipe: BuildSettings) -> tuple[bool, str]:
    """Whether a recipe can be built, and what was found, a line a file.

    Raises:
        ValueError: the recipe names no source or option that exists, or its files are there and cannot be read.
    """
    lines, whole = [], True
    for need in needs(recipe.source, recipe.options):
        found = need.found()
        whole &= found
        lines.append(f"{'found  ' if found else 'MISSING'}  {need.path}  {need.what}")
        if not found:
            lines.append(f"         get it from {need.where}")
    if whole:
        first = next(iter(examples(recipe.source, recipe.options, recipe.seed)), None)
        if first is None:
            return False, "\n".join([*lines, "the files are there, but give no picture"])
        referents, classes = len(first.referents), len(first.labels) - 1
        lines.append(
            f"first picture: {first.id}, {first.size[0]}x{first.size[1]}, {classes} classes, {referents} referents"
        )
        if first.synonyms:
            shared = shared_words(first.labels, first.synonyms)
            lines += [f"one word, several classes: {word} = {', '.join(names)}" for word, names in shared.items()]
    return whole, "\n".join(lines)
