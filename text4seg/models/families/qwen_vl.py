"""Qwen-VL-Chat (2023) from its published checkpoint, in a native class of our own (`qwen_vl_model`).

A picture is stretched to 448 pixels and becomes 256 image tokens behind ``Picture 1:``, as the published code and the
published training of Text4Seg have it; both render the same chat text. What is saved is in the published layout again,
with the files that came with the checkpoint beside it.

Source: Qwen-VL (arXiv 2308.12966); checkpoint ``Qwen/Qwen-VL-Chat``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers import AutoConfig, GenerationConfig

from text4seg.models.backbone import Backbone
from text4seg.models.families.qwen_vl_config import QwenVLConfig
from text4seg.models.families.qwen_vl_model import QwenVLForConditionalGeneration
from text4seg.models.families.qwen_vl_words import FRAME, WORDS, published_tokenizer
from text4seg.models.loading import find_file, load_model, local_or_hub, read_config
from text4seg.models.processor import ImageGeometry, Processor
from text4seg.models.settings import ModelSettings

DEFAULT = "Qwen/Qwen-VL-Chat"
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's; the published code has them inside, no file states them."""
COMPANIONS = (
    WORDS,
    "generation_config.json",
    "configuration_qwen.py",
    "modeling_qwen.py",
    "visual.py",
    "tokenization_qwen.py",
    "qwen_generation_utils.py",
)
"""What came with the weights and goes with them. None of it is run here."""
TOKENIZER_FILE = "tokenizer_config.json"


class QwenVLProcessor(Processor):
    """The processor of a published checkpoint, which is saved as it came.

    Args:
        path: where it came from.
        config: of the checkpoint.
        image_place: first or last; None: as the checkpoint says.
    """

    def __init__(self, path: str, config: QwenVLConfig, image_place: str | None) -> None:
        self.path = path
        tokenizer = published_tokenizer(path, config.image_token_id)
        tokenizer.init_kwargs.update({key: value for key, value in self.stated().items() if key == "image_place"})
        geometry = ImageGeometry(config.visual["image_size"], config.image_seq_length, MEAN, STD)
        super().__init__(tokenizer, geometry, config.image_token_id, image_place=image_place, frame=FRAME)

    def stated(self) -> dict[str, str]:
        """What the checkpoint's tokenizer_config.json holds."""
        file = find_file(self.path, TOKENIZER_FILE)
        return json.loads(file.read_text(encoding="utf-8")) if file else {}

    def save(self, folder: str | Path) -> None:
        """Put the checkpoint's own files beside a model's weights."""
        for name in COMPANIONS:
            file = find_file(self.path, name)
            if file is not None:
                shutil.copyfile(file, Path(folder) / name)
        said = json.dumps({**self.stated(), "image_place": self.image_place}, indent=2)
        (Path(folder) / TOKENIZER_FILE).write_text(said + "\n", encoding="utf-8")


class QwenVLBackbone(Backbone):
    """A backbone whose positions are computed, but right only up to the length of its training."""

    @property
    def context(self) -> int:
        """Most tokens of a text; longer ones would need the scaling that is left out here."""
        return int(self.core.config.get_text_config().max_position_embeddings)


def processor(settings: ModelSettings) -> QwenVLProcessor:
    """Tokenizer and image geometry, without the weights.

    Raises:
        ValueError: the checkpoint cannot be found, is no Qwen-VL of 2023, or `image_size` is not its own.
    """
    path = settings.path or DEFAULT
    raw = read_config(path)
    if raw.get("model_type") != QwenVLConfig.model_type or "visual" not in raw:
        raise ValueError(
            f"`model.path` {path!r} holds a {raw.get('model_type')} checkpoint without a tower; family qwen_vl needs "
            "Qwen-VL-Chat of 2023. Later ones (Qwen2-VL ...) are of family auto."
        )
    if "quantization_config" in raw:
        raise ValueError(
            f"{path!r} holds weights in few bits that cannot be read here; take {DEFAULT} with `model.quantize: 4`."
        )
    config = local_or_hub(AutoConfig, path)
    if settings.image_size not in (None, config.visual["image_size"]):
        raise ValueError(
            f"`model.image_size` must be {config.visual['image_size']} for this Qwen-VL, got {settings.image_size}."
        )
    return QwenVLProcessor(path, config, settings.image_place)


def load(settings: ModelSettings) -> Backbone:
    """Model and processor.

    Raises:
        ValueError: as `processor`; or weights are missing, unknown or of other shapes.
    """
    made = processor(settings)
    model, loaded = load_model(QwenVLForConditionalGeneration, made.path, settings)
    ends = made.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=made.pad_id)
    return QwenVLBackbone(model, made, loaded=loaded)
