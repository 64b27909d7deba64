"""A teacher that mostly says a script, a drafter that copies, and plain generation with the same teacher.

The teacher adds a bonus to the script's next token; where the model itself objects loudly enough, the model wins. So
texts have errors in them, guesses are right some of the time, and a wrong key or value in a cache shows in the text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from text4seg.decoding.contract import Draft
from text4seg.decoding.stop import AnswerEnds
from text4seg.models.ends import end_tokens


class Teacher(LogitsProcessor):
    """Says `scripts[row][n]` as token n of an answer, unless the model objects.

    A right token's logit is raised by `loud` times what lies between the mean and the highest one.
    """

    def __init__(self, scripts: Sequence[Sequence[int]], prompt: int, loud: float) -> None:
        self.scripts, self.prompt, self.loud = scripts, prompt, loud

    def adjust(self, number: int, tokens: Sequence[int], logits_V: torch.Tensor) -> torch.Tensor:
        """For the engine."""
        if len(tokens) >= len(self.scripts[number]):
            return logits_V
        out = logits_V.clone()
        out[self.scripts[number][len(tokens)]] += self.loud * (logits_V.max() - logits_V.mean())
        return out

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """For `generate`."""
        said = input_ids[:, self.prompt :].tolist()
        return torch.stack([self.adjust(row, said[row], scores[row]) for row in range(len(said))])


class Copier:
    """Goes on as the last two tokens (or the last one) once were; in a tree every other time a decoy comes first."""

    def propose(self, accepted: Sequence[int], width: int, branches: int = 1) -> Draft:
        guess = _again(list(accepted))[:width]
        if not guess:
            return Draft()
        chain = list(range(-1, len(guess) - 1))
        if branches == 1 or width < 4:
            return Draft(guess, chain)
        decoy = [guess[0], *(max(token - 1, 0) for token in guess[1:3])][: width // 2]
        kept = guess[: width - len(decoy)]
        pair = [decoy, kept] if len(accepted) % 2 else [kept, decoy]
        tokens, parents = [], []
        for branch in pair:
            parents += [-1, *range(len(tokens), len(tokens) + len(branch) - 1)]
            tokens += branch
        return Draft(tokens, parents)


def _again(said: list[int]) -> list[int]:
    for length in (2, 1):
        for start in range(len(said) - length - 1, -1, -1):
            if said[start : start + length] == said[-length:]:
                return said[start + length :]
    return []


def plain(backbone, prompts, items, bound: int, processors=(), width: int | None = None, ends=None) -> list[list[int]]:
    """New tokens of Hugging Face's own greedy loop, answers that end early filled up with padding.

    Args:
        width: of prompt lookup; None: one token a pass.
        ends: a stopping criterion in place of the usual one.
    """
    length = prompts["input_ids"].shape[1]
    ends = ends or AnswerEnds(backbone.processor.tokenizer, items)
    more = {} if width is None else {"prompt_lookup_num_tokens": width}
    with torch.inference_mode():
        out = backbone.model.generate(
            **prompts,
            do_sample=False,
            max_new_tokens=bound,
            eos_token_id=end_tokens(backbone.core, backbone.processor.tokenizer),
            pad_token_id=backbone.processor.pad_id,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([ends]),
            **more,
        )
    return out[:, length:].tolist()


def without_padding(backbone, tokens: Sequence[int]) -> str:
    """Text of an answer's tokens."""
    return backbone.processor.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
