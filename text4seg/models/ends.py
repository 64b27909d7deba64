"""The tokens that end an answer: what a checkpoint states, and what training closes answers with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer: those of the model's generation settings, else the tokenizer's."""
    own = model.generation_config.eos_token_id
    stated = tokenizer.eos_token_id if own is None else own
    tokens = stated if isinstance(stated, (list, tuple)) else [stated]
    return [token for token in tokens if token is not None]


def end_as_learnt(backbone: Backbone) -> None:
    """Let the token that training closes answers with end them, here and in an export.

    The settings of a base model end texts, not answers: it would learn to write the chat's token, and go on behind it.
    """
    end = backbone.processor.end_id
    stated = end_tokens(backbone.core, backbone.processor.tokenizer)
    if end is not None and end not in stated:
        backbone.core.generation_config.eos_token_id = [*stated, end]
