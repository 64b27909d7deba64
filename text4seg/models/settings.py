"""What the models room can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FAMILIES = ("tiny", "compose", "llava", "internvl", "deepseek_vl", "qwen_vl", "auto")
"""Backbone families; each is a file of `text4seg/models/families/`."""


@dataclass
class LoraSettings:
    """Low-rank adaptation of the language layers (paper Table 7)."""

    enabled: bool = True
    """False trains every weight that `ModelSettings.train` names."""
    rank: int = 64
    alpha: int = 128
    dropout: float = 0.05
    projector: str = "lora"
    """lora, full (through PEFT's modules_to_save; for a new projector) or frozen."""
    vision: bool = False
    """Adapt the vision tower's linear layers as well, as the published LLaVA-1.5 runs did."""


@dataclass
class ModelSettings:
    """Which backbone, from where."""

    family: str = "tiny"
    """tiny, compose, llava, internvl, deepseek_vl, qwen_vl, or auto (most vision-language models that transformers knows: docs/backbones.md)."""
    path: str | None = None
    """Hub name or folder of the checkpoint; null uses the family's default (tiny: the embedded one; `random` starts from random weights). compose: a composed checkpoint saved earlier, then `vision` and `language` are not read."""
    vision: str | None = None
    """compose: hub name or folder of the vision tower (a ViT: CLIP, SigLIP, DINOv2 and 3, ...), or `open_clip:ViT-B-16/laion2b_s34b_b88k`, also with a weights file behind the slash; without either the tower is random. llava: the tower of a checkpoint in the first authors' layout, where not the one it names."""
    language: str | None = None
    """compose: hub name or folder of a causal language model. The projector is new and random: train it as a whole with `lora.projector: full`. llava: the base of an original adapter or of mm_projector.bin."""
    language_layers: int | None = None
    """compose: keep only the first so many decoder layers."""
    merge: int = 1
    """compose: so many by so many patches become one image token (their features side by side); fewer tokens make faster steps."""
    row_ends: bool = False
    """compose: a newline behind each row of image tokens, as an answer has one behind each of its rows."""
    cache_features: str | None = None
    """compose: folder in which the frozen tower's features of every picture are kept, so that each is looked at once; also across runs."""
    options: dict[str, Any] = field(default_factory=dict)
    """Sizes for a tiny model that starts from random weights: image, patch, width, vision_layers, language_layers, heads, seed."""
    image_size: int | None = None
    """Side in pixels that images are stretched to; null: the checkpoint's own. compose: any multiple of the patch, position embeddings are interpolated."""
    chat: str = "checkpoint"
    """checkpoint (its own template) or text4seg_v1 (the text that the published training rendered; for InternVL2 they are the same)."""
    template: str | None = None
    """auto: a chat template (Jinja) in place of the checkpoint's own, for checkpoints that have none."""
    image_options: dict[str, Any] = field(default_factory=dict)
    """auto: attributes of the checkpoint's own image processor to change, such as `{do_image_splitting: false}`."""
    image_place: str | None = None
    """first or last: where the image stands in the first question; null: as the checkpoint says, first where it does not say. Behind the question, a model that starts from nothing finds what is asked for much sooner."""
    train: list[str] = field(default_factory=lambda: ["vision", "projector", "language"])
    """Parts that train when `lora.enabled` is false."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    start: str | None = None
    """A run folder (or an adapter in PEFT's format) whose trained weights this training starts from."""
    dtype: str = "float32"
    """float32, bfloat16 or float16: how the weights are held."""
    quantize: int | None = None
    """4 or 8: hold the frozen weights in so many bits (`pip install 'text4seg[quantize]'`, a GPU); LoRA only."""
    attention: str | None = None
    """eager, sdpa, flash_attention_2 ...; null: transformers' choice (tiny: eager; in float64 sdpa)."""
    device_map: str | None = None
    """auto spreads the layers over all GPUs (and memory) of this machine; evaluate and predict set it for `device=spread`, fit has no use for it."""
    gradient_checkpointing: bool = False
    """Compute each decoder layer a second time on the way back, and keep only what goes into it: less memory, a third more time."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """Numbers of the configuration of `checkpoint`, in transformers' words, for `fit --dry-run` where only its hub name is given; the checkpoint's own count wherever weights are loaded."""


@dataclass
class LossSettings:
    """Next-token loss on the answers."""

    reduction: str = "sample"
    """sample: mean over samples of each sample's mean; token: mean over the answer tokens of a micro-batch (published), which moves with `data.batch_size`, accumulation and the number of devices, as micro-batches then weigh alike."""
    cells: float = 0.0
    """Weight of a second loss: each image token names the label of its cell through the LM head (its first token). What makes grounding appear in a model that starts from random weights; needs image tokens that form a square."""
    cells_layer: int | None = None
    """Decoder layer behind which they are named; null: half of the layers, so that the layers above can read what was found."""
    counts: float = 0.0
    """Weight of a third loss, where there is one on cells: behind each run of equal cells the image tokens name its length, in the layer above. Lengths up to 35. What makes columns be read and not guessed."""
    chunk: int = 256
    """So many positions have logits at a time, which are not kept: less memory where the vocabulary is large; 0: all at once."""
    sampled: int = 0
    """In training, the right words compete with so many others of the vocabulary, drawn anew in each step (sampled softmax); 0: with all of them. Where the decoder is small most of a step is its head: 2048 of 49,152 words make it nearly free. `val/loss` is always exact."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own learning rate, trained parts and loss."""

    until: float
    """Share of the training's steps at which it ends."""
    lr: float
    parts: tuple[str, ...] = ()
    """vision, projector, language; empty: all that train."""
    cells: float = 0.0
    """Weight of the loss on cells (`LossSettings.cells`)."""


@dataclass
class OptimSettings:
    """AdamW and its schedule (paper Table 7)."""

    lr: float = 2e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    """How slowly the two moments forget."""
    weight_decay: float = 0.0
    """Of everything that trains."""
    warmup_ratio: float = 0.03
    """Share of the steps over which the rate rises to `lr`."""
    schedule: str = "linear"
    """linear or cosine (to zero), or constant."""
    clip: float = 1.0
    """Largest norm of a step's gradient; 0: any."""
