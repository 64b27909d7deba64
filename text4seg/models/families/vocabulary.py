"""The tiny model's own small BPE: whole words for what scenes and templates say, bytes for everything else.

A count with the separator behind it is one token (`` *16|``), and so is a word of the `full` codec (``red|``): the
fewer tokens an answer has, the less a model of a few million weights has to count.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from text4seg.descriptors import OTHERS
from text4seg.templates import ANSWERS, NO_TARGET_ANSWERS, QUESTIONS

PIECES = r" ?\*\d+(?:\||\n)?| ?[A-Za-z]+\|?| ?\d+|\n ?|\| ?|</?seg>|."
MAX_COUNT = 64
WORDS_OF_SCENES = (
    "circle square triangle diamond cross crosses ring star bar object circles squares triangles diamonds rings stars "
    "bars objects red green blue yellow purple orange white black large small striped dotted leftmost rightmost "
    "topmost lowest left right above below of the all"
)
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<user>{{ m['content'] }}"
    "{% else %}<model>{{ m['content'] }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}<model>{% endif %}"
)
SPECIAL = ("<pad>", "</s>", "<image>", "<user>", "<model>")


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer; the same one every time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECES), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,  # more than there are pieces: every piece of the corpus becomes one token
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        additional_special_tokens=["<image>", "<user>", "<model>"],
        chat_template=CHAT_TEMPLATE,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def _corpus() -> Iterator[str]:
    """Every piece that should be one token, at least twice."""
    for _ in range(2):
        for word in (OTHERS, *WORDS_OF_SCENES.split()):
            yield f"{word} {word}"
            yield f"{word}| {word}|"
        for number in range(1, MAX_COUNT + 1):
            yield f" *{number}| *{number}\n *{number}"
            yield f" {number}x{number}"
        yield "<seg></seg>\n \n (8x8 full) (8x8 rrle) (8x8 irle)"
        for lists in (*QUESTIONS.values(), *ANSWERS.values(), NO_TARGET_ANSWERS):
            yield from lists
