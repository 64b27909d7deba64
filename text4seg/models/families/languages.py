"""Language models as parts of a composition: the image token, a shorter stack of layers, loading with checks."""

from __future__ import annotations

import inspect
import re

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AddedToken,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from text4seg.models.integrity import refuse_incomplete
from text4seg.models.loading import local_or_hub, quiet

IMAGE_TOKENS = ("<image>", "<|image_pad|>", "<|image|>", "<image_soft_token>", "[IMG]", "<IMG_CONTEXT>")
RESERVED = re.compile(r"<\|?(reserved_special_token_|reserved_|unused_?|extra_|placeholder)\d+\|?>|\[control_\d+\]")


def image_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that stands for patches: the tokenizer's own, else a reserved one, else a new ``<image>``."""
    vocabulary = tokenizer.get_vocab()
    own = getattr(tokenizer, "image_token_id", None)
    if own is not None:
        return int(own)
    reserved = sorted((t for t in vocabulary if RESERVED.fullmatch(t)), key=vocabulary.__getitem__)
    for token in (*IMAGE_TOKENS, *reserved):
        if token in vocabulary:
            return vocabulary[token]
    tokenizer.add_tokens([AddedToken(IMAGE_TOKENS[0], special=True, normalized=False)], special_tokens=True)
    return tokenizer.get_vocab()[IMAGE_TOKENS[0]]


def language_config(name: str, layers: int | None) -> PreTrainedConfig:
    """A language model's configuration, of its first `layers` layers where given.

    Raises:
        ValueError: not a causal language model of text only, or it has fewer layers.
    """
    config = local_or_hub(AutoConfig, name)
    if config.is_encoder_decoder:
        raise ValueError(f"`model.language` {name!r} is an encoder-decoder ({config.model_type}); take a causal one.")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.get_text_config() is not config:
        raise ValueError(
            f"`model.language` {name!r} is a {config.model_type}; take a causal language model of text only."
        )
    return config if layers is None else _first_layers(config, layers)


def _first_layers(config: PreTrainedConfig, count: int) -> PreTrainedConfig:
    layers = config.num_hidden_layers
    if not 1 <= count <= layers:
        raise ValueError(f"`model.language_layers` must be 1 to {layers}, got {count}.")
    for key, value in config.to_dict().items():
        if "layer" in key and isinstance(value, list) and len(value) == layers:  # such as the kinds of attention
            setattr(config, key, value[:count])
    config.num_hidden_layers = count
    return config


def finish_logits(config: PreTrainedConfig, logits: Tensor) -> Tensor:
    """What a language model's own class does behind its head: Cohere and Granite scale logits, Gemma 2 caps them.

    Args:
        config: the language model's.
        logits: ``[..., V]`` from the head.
    """
    scale, divisor = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    cap = getattr(config, "final_logit_softcapping", None)
    if isinstance(scale, (int, float)):
        logits = logits * scale
    if divisor:
        logits = logits / divisor
    return torch.tanh(logits / cap) * cap if cap else logits


@torch.no_grad()
def load_language(name: str, config: PreTrainedConfig, image_token_id: int, dtype: torch.dtype) -> PreTrainedModel:
    """A causal language model whose tables hold the image token.

    Raises:
        ValueError: weights are missing, positions see the ones behind them, or the logits are made in an unknown way.
    """
    with quiet():  # layers that were left out would be listed one by one
        causal, info = local_or_hub(AutoModelForCausalLM, name, config=config, output_loading_info=True, dtype=dtype)
    refuse_incomplete(name, info["missing_keys"])
    _check_head(causal.eval(), name)
    rows = causal.get_input_embeddings().num_embeddings
    if image_token_id >= rows:
        causal.resize_token_embeddings(image_token_id + 1, mean_resizing=False)
        # The mean of the others: a logit that never stands out, and the same in every run.
        for layer in {causal.get_input_embeddings(), causal.get_output_embeddings()}:
            layer.weight[rows:] = layer.weight[:rows].float().mean(0).to(layer.weight.dtype)
            if getattr(layer, "bias", None) is not None:
                layer.bias[rows:] = layer.bias[:rows].mean()
    return causal


def _check_head(causal: PreTrainedModel, name: str) -> None:
    """Token embeddings are all that goes in, no position sees the ones behind it, logits are made as known here."""
    if "past_key_values" not in inspect.signature(causal.base_model.forward).parameters:
        raise ValueError(f"`model.language` {name!r} keeps no key-value cache (a recurrent model); take a transformer.")
    ids = torch.tensor([[1, 2, 3], [1, 2, 4]])
    hidden = causal.base_model(input_ids=ids).last_hidden_state
    if not torch.allclose(hidden[0, :2], hidden[1, :2], atol=1e-3):
        raise ValueError(f"`model.language` {name!r} looks ahead; take a causal language model.")
    embeds = causal.get_input_embeddings()(ids)
    if not torch.equal(causal.base_model(inputs_embeds=embeds).last_hidden_state, hidden):
        raise ValueError(f"`model.language` {name!r} looks token ids up inside its layers; patches have none.")
    head = causal.get_output_embeddings()
    if head is None or not torch.equal(finish_logits(causal.config, head(hidden)), causal(input_ids=ids).logits):
        raise ValueError(f"`model.language` {name!r} makes its logits in a way that is not known here; take another.")
