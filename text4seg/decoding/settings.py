"""What decoding can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

OFF, ON, REPORT = "off", "on", "report"
GRAMMARS = (OFF, ON, REPORT)
STRUCTURED, HF = "structured", "hf"
ENGINES = (STRUCTURED, HF)
PREAMBLE = 48


@dataclass
class DecodingSettings:
    """Generation of descriptors, greedy unless a temperature is given."""

    max_new_tokens: int | None = None
    """null: from the grid's worst case and the labels asked for."""
    paint: str = "nearest"
    """How a grid is brought to the image's size: nearest or smooth."""
    grammar: str = REPORT
    """off: the text is left alone. report: as off, and it is said at which token an answer left the language of descriptors (exactly so many rows and cells, the question's labels). on: no token that leaves it can be chosen, so every answer is well formed."""
    preamble: int = PREAMBLE
    """Most tokens of the sentence before the descriptor; with `grammar: on`, `<seg>` is forced then."""
    engine: str = STRUCTURED
    """structured: drafts from the geometry of the answer are verified, many tokens a pass; the text is the same. hf: Hugging Face's plain `generate`. Models that take no masks of our making are answered by hf, which is said."""
    prepack: bool = True
    """On a CPU in float32, decode with copies of the decoder's weights that are laid out for passes of a few tokens: faster, for as much memory again; outputs differ by rounding. Plain generation is left as it is."""
    temperature: float = 0.0
    """0: the likeliest token each time. Above: tokens are drawn, from the model's logits divided by this; drafts do not change what is drawn."""
    top_p: float = 1.0
    """With a temperature: draw only from the likeliest tokens, as many as it takes to sum up to this chance."""
    seed: int = 0
    """Of the draws; an answer depends on it and on what is asked, not on the batch."""
    width: int | None = None
    """Tokens of a draft; null: see `repeatable`. Where two tokens all but tie, another width may round otherwise."""
    repeatable: bool = True
    """With no `width`: false measures what a pass costs on this machine and learns from answer to answer how outlines move, which is fastest; true guesses by fixed rules and carries nothing from batch to batch, so that a score comes again to the last bit."""
    # The last key of a whole configuration: a run's file that ends before it counts as cut, so new keys stand above.
    branches: int | None = None
    """Most branches of a draft; null: 10 on a GPU, 1 elsewhere."""
