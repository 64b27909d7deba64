"""What a serving engine needs to keep a model to descriptors: the grammar, and a request that sends it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from text4seg.decoding.language.serving import ebnf, regex
from text4seg.descriptors import check_queries
from text4seg.templates import DEFAULT, Templates, hint


def write_grammar(
    folder: Path,
    size: tuple[int, int],
    codec: str,
    labels: Sequence[str],
    with_hint: bool = False,
    words: Templates = DEFAULT,
) -> list[Path]:
    """Write ``grammar.ebnf``, ``grammar.regex``, ``vllm.json`` and ``sglang.json``; gives their paths.

    The requests go to ``/v1/chat/completions`` of either engine; model name and image are to be filled in.

    Args:
        folder: made where it is missing.
        size: (rows, cols) of the grid.
        codec: its spelling.
        labels: what is asked for.
        with_hint: whether the question names grid and codec, as the model was trained (`data.format_hint`).
        words: that the model was trained to be asked in (:func:`.asking.words_of`).

    Raises:
        ValueError: for what cannot be asked, or no grammar can be written (:func:`.decoding.language.serving.ebnf`).
    """
    check_queries(labels)
    grammar = ebnf(size, codec, labels)
    question, _ = words.fixed("referring", labels)
    question += hint(codec, size) if with_hint else ""
    content = [
        {"type": "image_url", "image_url": {"url": "https://HOST/IMAGE.jpg"}},
        {"type": "text", "text": question},
    ]
    request = {"model": "MODEL", "temperature": 0, "messages": [{"role": "user", "content": content}]}
    texts = {
        "grammar.ebnf": grammar,
        "grammar.regex": regex(size, codec, labels) + "\n",
        "vllm.json": json.dumps({**request, "structured_outputs": {"grammar": grammar}}, indent=1) + "\n",
        "sglang.json": json.dumps({**request, "ebnf": grammar}, indent=1) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
