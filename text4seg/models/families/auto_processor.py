"""The checkpoint's own processor of transformers behind the interface of `Processor`.

Axis legend: B batch, T tokens, S side of the square in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from text4seg.models.chat import LLAVA, Layout
from text4seg.models.processor import Encoded, ImageGeometry, Processor
from text4seg.models.settings import ModelSettings

TEXT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels")
"""What a processor makes of the text; made here anew, because answers are tokenised apart."""


@dataclass(frozen=True)
class AutoGeometry(ImageGeometry):
    """Pictures are stretched to a square and then go through the checkpoint's own image processor.

    Attributes:
        own: transformers' processor.
        names: arguments of the model.
        frame: the text before and behind the image tokens.
        longer: stretch to the picture's own longer side and leave the side to the processor, as the published training
            of DeepSeek-VL did.
    """

    own: Any = field(default=None, compare=False)
    names: tuple[str, ...] = ()
    frame: tuple[str, str] = ("", "")
    longer: bool = False

    @classmethod
    def of(cls, own: Any, side: int, image_token_id: int, names: tuple[str, ...], longer: bool = False) -> AutoGeometry:
        """Ask a processor what it writes for a picture.

        Raises:
            ValueError: a picture's tokens do not stand in one piece (it is cut into tiles, or its rows are set apart).
        """
        made = own(text=[own.image_token], images=[[_blank(side)]], return_text_replacement_offsets=True)
        text = made["text_replacement_offsets"][0][0]["replacement"]
        token = own.tokenizer.convert_ids_to_tokens(image_token_id)
        before, after = text[: text.find(token)], text[text.rfind(token) + len(token) :]
        count = text.count(token)
        if text != before + count * token + after:
            raise ValueError(
                f"{type(own).__name__} cuts the image tokens of a picture of {side} pixels into pieces (tiles, or rows "
                "with a token behind each); only one piece aligns with the mask's grid. Tiles are switched off in "
                "`model.image_options`, e.g. {do_image_splitting: false}; rows with such tokens cannot be used."
            )
        return cls(side, count, own=own, names=names, frame=(before, after), longer=longer)

    def tensors(self, image: Image.Image) -> dict[str, Tensor]:
        """What the model takes of a picture, by argument; each tensor has a leading axis of one."""
        side = max(image.size) if self.longer else self.side
        square = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        made = self.own(text=[self.own.image_token], images=[[square]], return_tensors="pt")
        images = {name: part for name, part in made.items() if name in self.names and name not in TEXT}
        # Qwen's patches come in a row; models flatten what they get, so a batch may keep its axis.
        return {name: part if len(part) == 1 else part[None] for name, part in images.items()}

    def save(self, folder: Path) -> None:
        """Nothing: the processor is saved as a whole."""


class OwnProcessor(Processor):
    """Chat text, tokens and pictures as the checkpoint's own processor makes them.

    Args:
        own: transformers' processor.
        geometry: made from it.
        image_token_id: the token that is repeated for an image.
        settings: chat style and place of the image.
        types: the model's argument that marks tokens, if any, and how: `image` (1 at image tokens) or `prefix` (0 up
            to the first answer, 1 from there on, as PaliGemma's attention wants it).
        layout: what `text4seg_v1` means for this family.
    """

    def __init__(
        self,
        own: Any,
        geometry: AutoGeometry,
        image_token_id: int,
        settings: ModelSettings,
        types: tuple[str, str] | None = None,
        layout: Layout = LLAVA,
    ) -> None:
        super().__init__(
            own.tokenizer,
            geometry,
            image_token_id,
            settings.chat,
            settings.image_place,
            layout,
            geometry.frame,
            own.image_token,
        )
        self.own = own
        self.types = types

    def collate(
        self, batch: Sequence[Encoded], side: str = "right", pad_to_multiple_of: int = 1, max_length: int | None = None
    ) -> dict[str, Tensor]:
        """As `Processor.collate`, with the tokens marked where the model asks for it."""
        out = super().collate(batch, side, pad_to_multiple_of, max_length)
        if self.types is None:
            return out
        name, kind = self.types
        ids_BT = out["input_ids"]
        if kind == "image":
            out[name] = (ids_BT == self.image_token_id).long()
        else:
            learnt_BT = out["labels"] != -100 if "labels" in out else torch.zeros_like(ids_BT, dtype=torch.bool)
            out[name] = (learnt_BT.cumsum(1) > 0).long()
        return out

    def save(self, folder: str | Path) -> None:
        """Write processor and tokenizer beside a model's weights."""
        self.own.save_pretrained(folder)


def token_types(own: Any, geometry: AutoGeometry, names: Sequence[str]) -> tuple[str, str] | None:
    """Which argument of the model marks tokens, and how; None where there is none."""
    made = own(text=[own.image_token], images=[[_blank(geometry.side)]])
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in names and name in made:
            return name, "image" if any(made[name][0]) else "prefix"
    return None


def _blank(side: int) -> Image.Image:
    return Image.new("RGB", (side, side))
