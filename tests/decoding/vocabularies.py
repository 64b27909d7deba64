"""Small tokenizers of the kinds that models have: bytes, bytes with merges, sentencepiece with byte fallback."""

from __future__ import annotations

from functools import lru_cache

from fake_backbone import byte_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = [
    "Here is the mask:\n<seg>others *12| red car *4\n others *16\n</seg>",
    "The mask is:\n<seg>others| red car| dog| dog\n others *10| dog *6\n</seg>",
] * 8
KINDS = ("bytes", "merges", "pieces")


@lru_cache(maxsize=3)
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of one of the KINDS."""
    if kind == "bytes":
        return byte_tokenizer()
    if kind == "merges":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet)
    else:
        core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        core.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        core.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        every = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(
            vocab_size=420, special_tokens=["<pad>", "<eos>", "<unk>", *every], max_token_length=6
        )
    texts = TEXT if kind == "merges" else [word for text in TEXT for word in text.replace("\n", " ").split(" ")]
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
