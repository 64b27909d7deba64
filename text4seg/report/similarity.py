"""How alike two words are in meaning: cosine of their embeddings by a text model.

Two kinds: `open_clip:NAME/WEIGHTS` (the text tower of a CLIP; WEIGHTS is a tag or a file), or a hub name or folder of a
sentence encoder, whose token states are averaged. Embeddings are kept, so each word is embedded once.
Axis legend: N words, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

OPEN_CLIP = "open_clip:"
Encoder = Callable[[list[str]], Tensor]
"""Words -> ``[N, D]``."""


class TextSimilarity:
    """Finds the label that is nearest to a word.

    Args:
        spec: which text model (see the top of this file).

    Raises:
        ValueError: it cannot be loaded, or no weights are named.
    """

    def __init__(self, spec: str) -> None:
        self._encode = _open_clip(spec) if spec.startswith(OPEN_CLIP) else _sentence_encoder(spec)
        self._known: dict[str, Tensor] = {}

    def nearest(self, word: str, labels: Sequence[str]) -> tuple[str, float]:
        """The label nearest to a word, and the cosine between them."""
        embedded = self._embedded([word, *labels])
        cosines = (embedded[1:] @ embedded[0]).tolist()
        best = max(range(len(labels)), key=cosines.__getitem__)
        return labels[best], float(cosines[best])

    def _embedded(self, words: Sequence[str]) -> Tensor:
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        for word in new:  # one at a time: in a batch rounding would depend on the company
            with torch.inference_mode():
                self._known[word] = functional.normalize(self._encode([word])[0].double(), dim=-1)
        return torch.stack([self._known[word] for word in words])


def _open_clip(spec: str) -> Encoder:
    import open_clip

    name, _, weights = spec.removeprefix(OPEN_CLIP).partition("/")
    if not weights:
        raise ValueError(f"`match.similarity` {spec!r} names no weights: write open_clip:NAME/TAG or .../FILE.")
    try:
        model: Any = open_clip.create_model(name, pretrained=weights).eval()
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip and the hub's client raise a dozen kinds
        raise _unreadable(spec, error) from error
    return lambda words: model.encode_text(tokenizer(words))


def _sentence_encoder(spec: str) -> Encoder:
    from transformers import AutoModel, AutoTokenizer

    try:
        model = AutoModel.from_pretrained(spec).eval()
        tokenizer: Any = AutoTokenizer.from_pretrained(spec)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(spec, error) from error

    def encode(words: list[str]) -> Tensor:
        tokens = tokenizer(words, return_tensors="pt", padding=True, truncation=True)
        states_NTD = model(**tokens).last_hidden_state
        weights_NT1 = tokens["attention_mask"][..., None].to(states_NTD.dtype)
        return (states_NTD * weights_NT1).sum(1) / weights_NT1.sum(1)

    return encode


def _unreadable(spec: str, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ValueError(
        f"`match.similarity` {spec!r} cannot be loaded ({reason}): give open_clip:NAME/TAG, or the hub name or "
        "folder of a sentence encoder."
    )
