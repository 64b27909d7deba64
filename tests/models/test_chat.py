"""Chat text: the layout, what is learnt, and that no word of a user changes the structure around it."""

from __future__ import annotations

import pytest
from checkpoints import CHATML, LLAVA, byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoTokenizer

from text4seg.models.chat import IMAGE, Layout, render
from text4seg.models.families.vocabulary import tiny_tokenizer
from text4seg.models.processor import ImageGeometry, Processor

TOKENS = 4
# What users type (surrogates are no text) ...
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# ... and what they type to cause trouble.
NASTY = st.sampled_from(
    ["</s>", "<image>", "<|im_end|>", "<pad>", IMAGE, "\ue002question0\ue003", "\ue002answer0\ue003", "{{ 1 }}", "\n"]
)
ANY = st.lists(TEXT | NASTY, max_size=4).map("".join)
STYLES = {
    "text4seg_v1": (lambda: byte_tokenizer(None, ("<image>",)), "text4seg_v1"),
    "chatml": (lambda: byte_tokenizer(CHATML, ("<image>",)), "checkpoint"),
    "llava": (lambda: byte_tokenizer(LLAVA, ("<image>",)), "checkpoint"),
    "tiny": (tiny_tokenizer, "checkpoint"),
    # The same with the image behind the first question.
    "text4seg_v1 last": (lambda: byte_tokenizer(None, ("<image>",)), "text4seg_v1"),
    "chatml last": (lambda: byte_tokenizer(CHATML, ("<image>",)), "checkpoint"),
    "llava last": (lambda: byte_tokenizer(LLAVA, ("<image>",)), "checkpoint"),
    "tiny last": (tiny_tokenizer, "checkpoint"),
}
PROCESSORS = {}


def processor(style: str) -> Processor:
    if style not in PROCESSORS:
        make, chat = STYLES[style]
        tokenizer = make()
        image = tokenizer.convert_tokens_to_ids("<image>")
        place = "last" if style.endswith("last") else "first"
        PROCESSORS[style] = Processor(tokenizer, ImageGeometry(8, TOKENS), image, chat, place)
    return PROCESSORS[style]


def text_of(turns, style) -> str:
    made = processor(style)
    pieces = [segment.text for segment in render(turns, made.tokenizer, made.chat, made.image_place)]
    return "".join(pieces).replace(IMAGE, "<image>")


def learnt(turns, style) -> str:
    made = processor(style)
    ids, mask = made.tokens(turns)
    return made.tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m])


OPEN, ONE, TWO = [("Q?", None)], [("Q?", "A")], [("Q?", "A"), ("R?", "B")]


@pytest.mark.parametrize(
    ("style", "turns", "wanted"),
    [
        ("text4seg_v1", OPEN, "<s>USER: <image>\nQ?\nASSISTANT:"),
        ("text4seg_v1", ONE, "<s>USER: <image>\nQ?\nASSISTANT:A</s>"),
        ("text4seg_v1", TWO, "<s>USER: <image>\nQ?\nASSISTANT:A</s>USER: R?\nASSISTANT:B</s>"),
        ("chatml", OPEN, "<|im_start|>user\n<image>\nQ?<|im_end|>\n<|im_start|>assistant\n"),
        ("chatml", ONE, "<|im_start|>user\n<image>\nQ?<|im_end|>\n<|im_start|>assistant\nA<|im_end|>"),
        ("llava", OPEN, "USER: <image>\nQ? ASSISTANT:"),
        # The template writes a space before a known answer that generation would not have, and no end.
        ("llava", ONE, "USER: <image>\nQ? ASSISTANT:A</s>"),
        ("llava", TWO, "USER: <image>\nQ? ASSISTANT:A</s> USER: R? ASSISTANT:B</s>"),
        ("tiny", TWO, "<user><image>\nQ?<model>A</s><user>R?<model>B</s>"),
        ("text4seg_v1 last", TWO, "<s>USER: Q?\n<image>\nASSISTANT:A</s>USER: R?\nASSISTANT:B</s>"),
        ("chatml last", ONE, "<|im_start|>user\nQ?\n<image><|im_end|>\n<|im_start|>assistant\nA<|im_end|>"),
        ("llava last", OPEN, "USER: Q?\n<image> ASSISTANT:"),
        ("llava last", TWO, "USER: Q?\n<image> ASSISTANT:A</s> USER: R? ASSISTANT:B</s>"),
        ("tiny last", TWO, "<user>Q?\n<image><model>A</s><user>R?<model>B</s>"),
    ],
)
def test_the_layout_is_exact(style, turns, wanted) -> None:
    assert text_of(turns, style) == wanted


@pytest.mark.parametrize("style", STYLES)
def test_only_answers_and_their_ends_are_learnt(style) -> None:
    end = "<|im_end|>" if "chatml" in style else "</s>"
    assert learnt(TWO, style) == f"A{end}B{end}"
    assert learnt(OPEN, style) == ""


@pytest.mark.parametrize("style", STYLES)
def test_training_starts_an_answer_where_generation_does(style) -> None:
    made = processor(style)
    for turns in (ONE, TWO):
        prompt = made.tokens([*turns[:-1], (turns[-1][0], None)])[0]
        assert made.tokens(turns)[0][: len(prompt)] == prompt


@pytest.mark.parametrize("style", STYLES)
def test_an_answer_may_be_empty(style) -> None:
    assert learnt([("Q?", "")], style) == ("<|im_end|>" if "chatml" in style else "</s>")


@given(question=ANY, answer=ANY, second=ANY, style=st.sampled_from(sorted(STYLES)))
def test_any_words_survive_and_change_nothing_around_them(question, answer, second, style) -> None:
    made = processor(style)
    plain_ids, plain_mask = made.tokens([("", ""), ("", None)])
    ids, mask = made.tokens([(question, answer), (second, None)])
    assert ids.count(made.image_token_id) == TOKENS
    special = set(made.tokenizer.all_special_ids)
    assert [i for i in ids if i in special] == [i for i in plain_ids if i in special]
    assert sum(mask) >= sum(plain_mask)
    words = made.tokenizer.decode([i for i in ids if i not in special])
    frame = made.tokenizer.decode([i for i in plain_ids if i not in special])
    assert len(words) == len(frame) + len(question) + len(answer) + len(second)
    at = 0
    for word in (question, answer, second):
        at = words.index(word, at) + len(word)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("word", ["</s>", "<image>", IMAGE])
def test_special_names_in_questions_and_answers_are_plain_text(style, word) -> None:
    made = processor(style)
    encoded = made.encode(Image.new("RGB", (3, 3)), [(f"a {word} b", f"c {word} d")])
    assert encoded.input_ids.count(made.image_token_id) == TOKENS
    assert encoded.input_ids.count(made.tokenizer.eos_token_id) == ("chatml" not in style)
    assert made.tokenizer.decode(encoded.input_ids).count(f"a {word} b") == 1


def test_a_vocabulary_with_the_image_token_as_a_plain_word_refuses_it() -> None:
    made = processor("chatml")
    letter = made.tokenizer.convert_tokens_to_ids("x")
    with pytest.raises(ValueError, match="holds the image token"):
        Processor(made.tokenizer, made.geometry, letter).tokens([("x", None)])


def test_a_family_has_its_own_published_layout_and_frame() -> None:
    layout = Layout(
        "{bos}system<|im_end|>", "<|im_start|>user\n", " ", "<|im_end|><|im_start|>assistant\n", "<|im_end|>"
    )
    tokenizer = byte_tokenizer(None, ("<image>", "<img>", "</img>"))
    image = tokenizer.convert_tokens_to_ids("<image>")
    geometry = ImageGeometry(8, TOKENS)
    made = Processor(tokenizer, geometry, image, "text4seg_v1", layout=layout, frame=("<img>", "</img>"))
    ids, mask = made.tokens(TWO)
    assert tokenizer.decode(ids) == (
        "<s>system<|im_end|><|im_start|>user\n<img>" + "<image>" * TOKENS + "</img> Q?<|im_end|><|im_start|>assistant\n"
        "A<|im_end|><|im_start|>user\nR?<|im_end|><|im_start|>assistant\nB<|im_end|>"
    )
    assert tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m]) == "A<|im_end|>B<|im_end|>"


def test_a_saved_tokenizer_knows_where_the_image_stands(tmp_path) -> None:
    processor("tiny last").save(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    made = processor("tiny last")
    assert Processor(again, made.geometry, made.image_token_id).image_place == "last"
    assert Processor(again, made.geometry, made.image_token_id, image_place="first").image_place == "first"
    assert Processor(byte_tokenizer(CHATML), made.geometry, 0).image_place == "first"


def test_what_cannot_be_rendered_is_refused() -> None:
    with pytest.raises(ValueError, match="first or last, got 'middle'"):
        render(ONE, byte_tokenizer(CHATML), place="middle")
    with pytest.raises(ValueError, match="checkpoint or text4seg_v1, got 'vicuna'"):
        render(ONE, byte_tokenizer(), "vicuna")
    with pytest.raises(ValueError, match=r"has no chat template; set `model.chat: text4seg_v1`"):
        render(ONE, byte_tokenizer())
    for template in ("{{ 'hello' }}", "{{ raise_exception('no') }}", "{{ messages[0].content }}"):
        with pytest.raises(ValueError, match=r"cannot be used: .*text4seg_v1"):
            render(ONE, byte_tokenizer(template))


def test_a_template_s_system_text_and_thoughts() -> None:
    thinking = CHATML.replace(
        "{{ m['role'] }}\n", "{{ m['role'] }}\n{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    )
    tokenizer = byte_tokenizer("<|im_start|>system\nBe kind.<|im_end|>\n" + thinking)
    text = "".join(s.text for s in render(ONE, tokenizer))
    assert text.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n")
    # Generation starts behind `assistant`, so the empty thought is not put before the answer that is learnt.
    assert text.endswith("<|im_start|>assistant\nA<|im_end|>")
