"""Small tokenizers of the kinds that models have: bytes, bytes with merges, sentencepiece with byte fallback."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import product

from fake_backbone import byte_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from text4seg.models.families.vocabulary import tiny_tokenizer

TEXT = [
    "Here is the mask:\n<seg>others *12| red car *4\n others *16\n</seg>",
    "The mask is:\n<seg>others| red car| dog| dog\n others *10| dog *6\n</seg>",
] * 8
KINDS = ("bytes", "merges", "pieces")


@lru_cache(maxsize=5)
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of one of the KINDS, the `tiny` model's, or `sentencepiece` with byte tokens that are not special."""
    if kind == "tiny":
        return tiny_tokenizer()
    if kind == "sentencepiece":
        return sentencepiece_tokenizer()
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
        special = ["<pad>", "<eos>", "<unk>"]
        trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, max_token_length=6)
    texts = TEXT if kind == "merges" else [word for text in TEXT for word in text.replace("\n", " ").split(" ")]
    core.train_from_iterator(texts, trainer)
    if kind == "pieces":  # the bytes are ordinary tokens of the model
        trained = json.loads(core.to_str())["model"]
        vocabulary = trained["vocab"] | {f"<0x{byte:02X}>": len(trained["vocab"]) + byte for byte in range(256)}
        merges = [tuple(merge) for merge in trained["merges"]]
        core.model = models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama's: blanks are letters, what has no token is spelt in bytes, decoding drops a first blank."""
    words = ["▁", "▁others", "others", "▁red", "red", "▁car", "|", "▁*", "*", "<", "<s", "seg", ">", "</", ">▁"]
    words += [*"0123456789", "16", "12", *"abcdefghijklmnopqrstuvwxyz", "|\u2581", "\u2581*1"]
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))])}
    for word in words:
        vocab.setdefault(word, len(vocab))
    merges = [(a, b) for a, b in product(vocab, vocab) if a + b in vocab and len(a + b) > 1 and not a.startswith("<0x")]
    merges.sort(key=lambda pair: len("".join(pair)))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=_reachable(merges), byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )


def letters_tokenizer(*words: str) -> PreTrainedTokenizerFast:
    """One token an ASCII letter, and words, each a token wherever it stands; nothing for other letters but <unk>."""
    letters = ["<pad>", "<eos>", "<unk>", "\n", *map(chr, range(32, 127))]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(letters)}, merges=[], unk_token="<unk>"))
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    return tokenizer


def _reachable(merges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Merges whose parts are letters or results of earlier merges."""
    made: set[str] = set()
    kept = []
    for pair in merges:
        if all(len(part) == 1 or part in made for part in pair):
            made.add("".join(pair))
            kept.append(pair)
    return kept
