"""Chat text: what surrounds questions and answers, as segments of which only the answers are learnt.

A checkpoint's own template is rendered once with sentinels in place of the words and then cut at them, so any Jinja
template works and no word of a user can change the structure around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

IMAGE = "\ue000image\ue001"
"""Stands where the image tokens go."""


@dataclass(frozen=True)
class Segment:
    """A piece of the rendered chat.

    Attributes:
        text: the characters.
        kind: `frame` (template, may hold special tokens), `user` (a question: never parsed for special tokens),
            `answer` (learnt, never parsed for special tokens) or `end` (the token that closes it, learnt).
    """

    text: str
    kind: str


SAID = ("user", "answer")
"""Kinds of segments that hold words, not a template's text."""
PLACES = ("first", "last")
"""Where the image may stand in the first question."""


@dataclass(frozen=True)
class Layout:
    """What a family's published training put around questions and answers (`model.chat: text4seg_v1`).

    ``{bos}`` and ``{eos}`` stand for the tokenizer's own tokens. The default is LLaVA's:
    ``<s>USER: <image>\\nQ\\nASSISTANT:A</s>``, no system text.

    Attributes:
        start: stands before everything (a system text goes here).
        question: before each question.
        gap: between the image and the first question.
        answer: between a question and its answer; generation starts behind it.
        end: closes an answer and is learnt.
    """

    start: str = "{bos}"
    question: str = "USER: "
    gap: str = "\n"
    answer: str = "\nASSISTANT:"
    end: str = "{eos}"


LLAVA = Layout()
Turns = Sequence[tuple[str, str | None]]
"""(question, answer) pairs; an answer of None ends the text where generation starts."""


def render(
    turns: Turns,
    tokenizer: PreTrainedTokenizerBase,
    style: str = "checkpoint",
    place: str = "first",
    layout: Layout = LLAVA,
    placeholder: str | None = None,
) -> list[Segment]:
    """Lay out a conversation.

    Args:
        turns: at least one; only the last answer may be None.
        style: `checkpoint` (the tokenizer's chat template) or `text4seg_v1` (`layout`).
        place: whether the image stands `first` or `last` in the first question. Behind it, image tokens can attend to
            the words and find out by themselves whether they are meant.
        layout: what the published training rendered for this family.
        placeholder: what the checkpoint's own template writes for an image; None: it knows text only, and the image
            stands on a line of its own.

    Raises:
        ValueError: an unknown style or place, or a tokenizer without a chat template or with one that cannot be used.
    """
    words = iter(words_of(turns))
    frame = skeleton(len(turns), turns[-1][1] is None, tokenizer, style, place, layout, placeholder)
    said = [replace(s, text=next(words)) if s.kind in SAID else s for s in frame]
    return [segment for segment in said if segment.text]


def words_of(turns: Turns) -> list[str]:
    """What is said, question and answer in turn."""
    assert turns
    assert all(answer is not None for _, answer in turns[:-1]), "only the last answer may be open"
    return [text for turn in turns for text in turn if text is not None]


def skeleton(
    count: int,
    opens: bool,
    tokenizer: PreTrainedTokenizerBase,
    style: str = "checkpoint",
    place: str = "first",
    layout: Layout = LLAVA,
    placeholder: str | None = None,
) -> list[Segment]:
    """The segments of a conversation of `count` turns, the words in it (`SAID`) left empty; `opens`: no last answer.

    Raises:
        ValueError: as `render`, whose other arguments these are.
    """
    if place not in PLACES:
        raise ValueError(f"`model.image_place` must be first or last, got {place!r}.")
    if style == "text4seg_v1":
        return _published(count, opens, tokenizer, place, layout)
    if style != "checkpoint":
        raise ValueError(f"`model.chat` must be checkpoint or text4seg_v1, got {style!r}.")
    if not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer {tokenizer.name_or_path!r} has no chat template; set `model.chat: text4seg_v1` or save "
            "the tokenizer with one."
        )
    return _templated(count, opens, tokenizer, place, placeholder)


def _published(
    count: int, opens: bool, tokenizer: PreTrainedTokenizerBase, place: str, layout: Layout
) -> list[Segment]:
    def filled(text: str) -> str:
        return text.replace("{bos}", tokenizer.bos_token or "").replace("{eos}", tokenizer.eos_token or "")

    segments = [Segment(filled(layout.start), "frame")]
    for number in range(count):
        before, after = _around(place, layout.gap) if number == 0 else ("", "")
        segments += [Segment(filled(layout.question) + before, "frame"), Segment("", "user")]
        segments.append(Segment(after + filled(layout.answer), "frame"))
        if not (opens and number == count - 1):
            segments += [Segment("", "answer"), Segment(filled(layout.end), "end")]
    return segments


def _around(place: str, gap: str = "\n") -> tuple[str, str]:
    """What stands before and behind the first question."""
    return (IMAGE + gap, "") if place == "first" else ("", gap + IMAGE)


def _templated(
    count: int, opens: bool, tokenizer: PreTrainedTokenizerBase, place: str, placeholder: str | None
) -> list[Segment]:
    messages = []
    for number in range(count):
        before, after = _around(place) if number == 0 else ("", "")
        messages.append(("user", before + _mark("question", number) + after))
        messages.append(("assistant", _mark("answer", number)))
    if opens:
        messages.pop()
    text = _apply(messages, tokenizer, opens, placeholder)
    first = _opening(tokenizer, _around(place)[1], placeholder)
    later = _opening(tokenizer, "", placeholder) if place == "last" and count > 1 else first
    segments = []
    for number in range(count):
        before, text = _cut(text, _mark("question", number), tokenizer)
        segments += [Segment(before, "frame"), Segment("", "user")]
        if opens and number == count - 1:
            segments.append(Segment(text, "frame"))
            continue
        between, text = _cut(text, _mark("answer", number), tokenizer)
        end = _end_of_turn(text, tokenizer)
        opening = later if number else first
        segments += [Segment(opening or between, "frame"), Segment("", "answer")]
        segments.append(Segment(end or tokenizer.eos_token or "", "end"))
        text = text[len(end) :]
    # What a template puts after the last answer's end (usually a newline) is never generated: it is left out.
    return segments


def _mark(kind: str, number: int) -> str:
    """A sentinel of private-use characters: no template writes them and none strips them."""
    return f"\ue002{kind}{number}\ue003"


def _apply(
    messages: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, opens: bool, placeholder: str | None
) -> str:
    """Render messages; templates of vision-language models want the content as a list of parts."""
    if placeholder is not None:
        return _apply_parts(messages, tokenizer, opens, placeholder)
    for parts in (False, True):
        chat: list[Any] = [{"role": r, "content": [{"type": "text", "text": c}] if parts else c} for r, c in messages]
        try:
            text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=opens)
        except Exception as error:  # a template raises what it likes
            if parts:
                raise _unusable(tokenizer, str(error)) from error
            continue
        assert isinstance(text, str)
        if all(text.count(content) == 1 for _, content in messages):
            return text
    raise _unusable(tokenizer, "it does not repeat what is said")


def _apply_parts(
    messages: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, opens: bool, placeholder: str
) -> str:
    """Render messages whose image is a part of its own; the template decides what stands around it."""
    image, wanted = {"type": "image"}, sum(IMAGE in content for _, content in messages)
    chat: list[Any] = []
    for role, content in messages:
        text = {"type": "text", "text": content.replace(IMAGE, "").strip("\n")}
        first = [image] * content.startswith(IMAGE)
        last = [image] * content.endswith(IMAGE)
        chat.append({"role": role, "content": [*first, text, *last]})
    try:
        rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=opens)
    except Exception as error:  # a template raises what it likes
        raise _unusable(tokenizer, str(error)) from error
    assert isinstance(rendered, str)
    if any(rendered.count(part["text"]) != 1 for m in chat for part in m["content"] if part["type"] == "text"):
        raise _unusable(tokenizer, "it does not repeat what is said")
    if rendered.count(placeholder) != wanted:
        raise _unusable(tokenizer, f"it writes {placeholder!r} {rendered.count(placeholder)} times, not {wanted}")
    return rendered.replace(placeholder, IMAGE)


def _opening(tokenizer: PreTrainedTokenizerBase, after: str, placeholder: str | None) -> str:
    """What stands between a question, with `after` behind it, and where generation starts.

    Training puts exactly this before an answer. Some templates write more before an answer that is known (a space, an
    empty thought), which generation would not have.
    """
    mark = _mark("question", 0)
    asked = [("user", mark + after)]
    opened, closed = (_cut(_apply(asked, tokenizer, opens, placeholder), mark, tokenizer)[1] for opens in (True, False))
    return "" if opened == closed else opened


def _cut(text: str, mark: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found:
        raise _unusable(tokenizer, "it changes the order of what is said")
    return before, after


def _unusable(tokenizer: PreTrainedTokenizerBase, reason: str) -> ValueError:
    return ValueError(
        f"the chat template of {tokenizer.name_or_path!r} cannot be used: {reason}. Set `model.chat: text4seg_v1`."
    )


def _end_of_turn(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The special token that closes an answer; the model has to learn to write it."""
    # Gemma's end of turn is a special token that no attribute of its tokenizer names.
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    for token in sorted({*tokenizer.all_special_tokens, *added}, key=len, reverse=True):
        if token and text.startswith(token):
            return token
    return ""
