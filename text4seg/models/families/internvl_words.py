"""Tokenizer and chat text of published InternVL checkpoints, without running the code that comes with them.

The chat text stands in a Python file beside the weights, `conversation.py`; it is read, never executed. InternLM2's
tokenizer is a sentencepiece model under a class of its own.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any

from tokenizers import decoders, normalizers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, Qwen2Tokenizer, TokenizersBackend
from transformers.convert_slow_tokenizer import SentencePieceExtractor

from text4seg.models.loading import find_file, local_or_hub

IMAGE_TOKEN = "<IMG_CONTEXT>"
FRAME = ("<img>", "</img>")
NAMED_TOKENS = {
    "start_image_token": FRAME[0],
    "end_image_token": FRAME[1],
    "context_image_token": IMAGE_TOKEN,
    "video_token": FRAME[1],  # transformers' processor insists on one; this never stands in a text before images do
}
CLASSES = {
    "Qwen2Tokenizer": Qwen2Tokenizer,
    "Qwen2TokenizerFast": Qwen2Tokenizer,
    "LlamaTokenizer": LlamaTokenizer,
    "LlamaTokenizerFast": LlamaTokenizer,
}


@dataclass(frozen=True)
class Conversation:
    """What stands around questions and answers: ``system sep (user Q sep assistant A sep)*``."""

    before_system: str
    system: str
    user: str
    assistant: str
    sep: str

    def template(self, starts: bool) -> str:
        """The same as a chat template; `starts` puts the tokenizer's first token before it."""
        words = {name: json.dumps(text, ensure_ascii=False) for name, text in vars(self).items()}
        return TEMPLATE.format(bos="{{ bos_token }}" if starts else "", image=IMAGE_TOKEN, **words)


TEMPLATE = (
    "{bos}{{% if messages[0].role != 'system' %}}{{{{ {before_system} + {system} + {sep} }}}}{{% endif %}}"
    "{{% for m in messages %}}"
    "{{{{ {{'system': {before_system}, 'user': {user}, 'assistant': {assistant}}}[m.role] }}}}"
    "{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}"
    "{{% for part in m.content %}}"
    "{{% if part.type == 'image' %}}{{{{ '{image}\\n' }}}}{{% else %}}{{{{ part.text }}}}{{% endif %}}"
    "{{% endfor %}}{{% endif %}}"
    "{{{{ {sep} }}}}{{% endfor %}}"
    "{{% if add_generation_prompt %}}{{{{ {assistant} }}}}{{% endif %}}"
)


def published_tokenizer(path: str, raw: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer of a published checkpoint, with its chat text as a template.

    Args:
        path: folder or hub name.
        raw: the checkpoint's `config.json`, which names the conversation.

    Raises:
        ValueError: it cannot be read, is of an unknown class and has no tokenizer.json, lacks the image's tokens, or
            there is no chat text.
    """
    file = find_file(path, "tokenizer_config.json")
    own = json.loads(file.read_text(encoding="utf-8")) if file else {}
    kind = own.get("tokenizer_class", "")
    whole = find_file(path, "tokenizer.json") is not None  # says all, whatever class wrote it
    if not whole and kind not in (*CLASSES, "InternLM2Tokenizer", "InternLM2TokenizerFast"):
        raise ValueError(
            f"{path!r} has no tokenizer.json and a tokenizer of class {kind!r}; known: InternLM2Tokenizer, "
            f"{', '.join(CLASSES)}."
        )
    if whole or kind in CLASSES:
        reader = TokenizersBackend if whole else CLASSES[kind]
        tokenizer = local_or_hub(reader, path, model_specific_special_tokens=NAMED_TOKENS)
    else:
        starts = own.get("add_bos_token", True)  # InternLM2's own class has another default than transformers
        tokenizer = local_or_hub(
            TokenizersBackend, path, model_specific_special_tokens=NAMED_TOKENS, add_bos_token=starts
        )
        _as_sentencepiece(tokenizer, path)
    tokenizer.init_kwargs.pop("auto_map", None)  # a saved copy needs no code of the checkpoint's
    if tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) >= raw["llm_config"]["vocab_size"]:
        raise ValueError(f"{path!r} is incomplete: its tokenizer_config.json has no {IMAGE_TOKEN}.")
    source = find_file(path, "conversation.py")
    if source is not None:
        starts = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
        found = conversation(source.read_text(encoding="utf-8"), raw["template"], raw.get("system_message"))
        tokenizer.chat_template = found.template(starts)
    elif not tokenizer.chat_template:
        raise ValueError(
            f"{path!r} has neither conversation.py nor a chat template; copy the file from where it came from."
        )
    return tokenizer


def conversation(source: str, name: str, system: str | None = None) -> Conversation:
    """Find a conversation by name in the text of a `conversation.py`.

    Args:
        source: Python; parsed, not executed.
        name: the checkpoint's `template`.
        system: takes the place of the conversation's own system text.

    Raises:
        ValueError: no such conversation, or one that is put together in another way.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Conversation":
            given = {word.arg: word.value for word in node.keywords}
            if _text(given.get("name")) == name:
                return _conversation(given, name, system)
    raise ValueError(f"conversation.py has no template {name!r}, which config.json names.")


def _conversation(given: dict[str | None, ast.expr], name: str, system: str | None) -> Conversation:
    style = getattr(given.get("sep_style"), "attr", None)
    before, slot, after = _text(given.get("system_template")).partition("{system_message}")
    if style != "MPT" or not slot or after:
        raise ValueError(f"conversation.py puts {name!r} together in a way that is not known here: {style}, not MPT.")
    roles = ast.literal_eval(given["roles"])
    own = _text(given.get("system_message"))
    return Conversation(before, own if system is None else system, roles[0], roles[1], _text(given.get("sep")))


def _text(node: ast.expr | None) -> str:
    value = None if node is None else ast.literal_eval(node)
    return value if isinstance(value, str) else ""


def _as_sentencepiece(tokenizer: Any, path: str) -> None:
    """transformers leaves out the blank that a sentencepiece model may put before every piece of plain text."""
    file = find_file(path, "tokenizer.model")
    assert file is not None, "transformers has just read it"
    if not SentencePieceExtractor(str(file)).proto.normalizer_spec.add_dummy_prefix:
        return
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
