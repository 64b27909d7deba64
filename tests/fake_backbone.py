"""Stand-ins for a backbone: a byte tokenizer, a model that recites texts, and a random Llama; nothing is loaded."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutputWithPast


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, plus <pad> and <eos>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<pad>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def tiny_config(**changes) -> LlamaConfig:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaConfig(
        vocab_size=258,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        max_position_embeddings=4096,
        **sizes | changes,
    )


def random_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config(initializer_range=0.4))
    model.generation_config.eos_token_id = None
    return model


class Reciter(LlamaForCausalLM):
    """Answers prompt number i with text number i, then prints rubbish for ever."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(tiny_config(num_hidden_layers=1))
        self.tokenizer = byte_tokenizer()
        self.texts = texts
        self.asked = 0
        self.passes = 0

    def forward(self, input_ids=None, past_key_values=None, **_):
        if past_key_values.get_seq_length() == 0:  # the prompts: a new batch begins
            self.scripts = [self.tokenizer(text)["input_ids"] for text in self.texts[self.asked :][: len(input_ids)]]
            self.asked += len(input_ids)
            self.step = 0
        logits = torch.zeros(*input_ids.shape, 258)
        for row, script in enumerate(self.scripts):
            token = script[self.step] if self.step < len(script) else self.tokenizer.convert_tokens_to_ids("z")
            logits[row, -1, token] = 1
        self.step += 1
        self.passes += 1
        dummy = torch.zeros(input_ids.shape[0], 2, input_ids.shape[1], 8)
        past_key_values.update(dummy, dummy, 0)
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)


def backbone_of(model: torch.nn.Module) -> SimpleNamespace:
    return SimpleNamespace(model=model, processor=SimpleNamespace(tokenizer=byte_tokenizer()), to=model.to)


def prompts_of(questions: list[str]) -> dict[str, torch.Tensor]:
    tokenizer = byte_tokenizer()
    batch = tokenizer(questions, padding=True, padding_side="left", return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
