"""Image and conversation -> tensors. Holds no weights, so loading processes can carry it.

Axis legend: B batch, T tokens, S side of the model's square image in pixels.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate
from transformers import PreTrainedTokenizerBase
from transformers.image_processing_base import ImageProcessingMixin

from text4seg.descriptors import STAR, LabelGrid, Span, run_lengths
from text4seg.models.chat import IMAGE, LLAVA, SAID, Layout, Turns, skeleton, words_of
from text4seg.models.joints import Joints

IMAGE_FILE = "preprocessor_config.json"
TARGETS = ("labels", "cells", "counts")
"""What `Processor.collate` makes for the losses; the rest of a batch goes into the model."""

SIGNS = string.digits + string.ascii_uppercase
"""What a length of 0 to 35 is called where one token has to say it."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ImageGeometry:
    """How a picture becomes the model's square: stretched (aspect ratio not kept, as the mask grid is), bicubic.

    Source: published data pipelines; Text4Seg (arXiv 2410.09855), appendix on training settings.
    """

    side: int
    num_tokens: int
    mean: Triple = (0.5, 0.5, 0.5)
    std: Triple = (0.5, 0.5, 0.5)

    @property
    def tokens_a_side(self) -> int:
        """Rows, and columns, of the image tokens.

        Raises:
            ValueError: the tokens do not form a square.
        """
        side = math.isqrt(self.num_tokens)
        if side * side != self.num_tokens:
            raise ValueError(
                f"`loss.cells` and `model.row_ends` need image tokens that form a square; this backbone has "
                f"{self.num_tokens} a picture."
            )
        return side

    def at(self, side: int) -> ImageGeometry:
        """The same for pictures of another side: an image token stands for as many pixels.

        Raises:
            ValueError: there would be parts of image tokens.
        """
        across = self.tokens_a_side
        pixels = self.side // across
        if side < pixels or side % pixels:
            raise ValueError(
                f"`image_size` of a stage must be a multiple of {pixels}, the pixels of an image token, got {side}."
            )
        return replace(self, side=side, num_tokens=(side // pixels) ** 2)

    def pixels(self, image: Image.Image) -> Tensor:
        """Normalised float32 ``[3, S, S]``."""
        square = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BICUBIC)
        # Channels first before any arithmetic: over rows of 3 values numpy is ten times slower.
        pixels = np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1)).astype(np.float32)
        pixels /= 255
        pixels -= np.array(self.mean, np.float32)[:, None, None]
        pixels /= np.array(self.std, np.float32)[:, None, None]
        return torch.from_numpy(pixels)

    def tensors(self, image: Image.Image) -> dict[str, Tensor]:
        """What the model takes of a picture, by argument; batches are concatenated along the first axis.

        A family whose model wants more than ``pixel_values`` ``[1, 3, S, S]`` overrides this.
        """
        return {"pixel_values": self.pixels(image)[None]}


@dataclass(frozen=True)
class Encoded:
    """One conversation, ready to be batched.

    Attributes:
        input_ids: token ids.
        answer_mask: True where the token is learnt: those of answers (the end-of-turn token included).
        images: the picture's tensors as `ImageGeometry.tensors` makes them.
        cells: for each image token, the token id that it has to name; None where it is not asked.
        counts: for each image token, the token id of the length of the run of cells that ends with it, -100 where the
            run goes on; the position behind the token has to name it.
    """

    input_ids: list[int]
    answer_mask: list[bool]
    images: dict[str, Tensor]
    cells: list[int] | None = None
    counts: list[int] | None = None


class _Piece(NamedTuple):
    """A segment of the chat: its ids (none for words, which come later), and whether it goes on with a text."""

    kind: str
    ids: list[int]
    goes_on: bool


class Processor:
    """Tokenizer, chat text and image geometry of one backbone.

    Args:
        tokenizer: with the checkpoint's chat template.
        geometry: of the image.
        image_token_id: the token that is repeated for an image.
        chat: `checkpoint` or `text4seg_v1`.
        image_place: first or last; None: as the tokenizer says.
        layout: what `text4seg_v1` means for this family.
        frame: special tokens before and behind the image's own.
        placeholder: what the chat template writes for an image; None: it knows text only.
        row_ends: a newline stands behind each row of the square of image tokens; also where the tokenizer says so.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        geometry: ImageGeometry,
        image_token_id: int,
        chat: str = "checkpoint",
        image_place: str | None = None,
        layout: Layout = LLAVA,
        frame: tuple[str, str] = ("", ""),
        placeholder: str | None = None,
        row_ends: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.geometry = geometry
        self.image_token_id = image_token_id
        self.chat = chat
        self.layout = layout
        self.frame = frame
        self.placeholder = placeholder
        # Kept with the tokenizer, beside its chat template, so that a saved checkpoint knows it.
        self.image_place: str = image_place or tokenizer.init_kwargs.get("image_place", "first")
        tokenizer.init_kwargs["image_place"] = self.image_place
        self.row_ends: bool = row_ends or tokenizer.init_kwargs.get("row_ends", False)
        if self.row_ends:
            tokenizer.init_kwargs["row_ends"] = True
        self._joints = Joints(tokenizer)
        self._frames: dict[tuple[int, bool], list[_Piece]] = {}

    def at(self, side: int) -> Processor:
        """The same for pictures of another side in pixels.

        Raises:
            ValueError: there would be parts of image tokens.
        """
        other = copy(self)
        other.geometry, other._frames = self.geometry.at(side), {}
        return other

    @property
    def pad_id(self) -> int:
        """Padding token: the tokenizer's own, else its end of sequence."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @cached_property
    def end_id(self) -> int | None:
        """The special token that closes an answer in training; None where words of the template do."""
        closing = [token for piece in self._frame(1, False) if piece.kind == "end" for token in piece.ids]
        return next((token for token in closing if token in self._joints.special), None)

    def encode(
        self,
        image: Image.Image,
        turns: Turns,
        cells: LabelGrid | None = None,
        unlearnt: Sequence[Sequence[Span]] = (),
    ) -> Encoded:
        """Tokenise a conversation about one image.

        Answers are tokenised apart from the text around them, so that training sees the very tokens that generation
        has to continue with. Names of special tokens in questions and answers are plain text.

        Args:
            image: any size.
            turns: questions and answers.
            cells: what the image tokens show, where they have to name it; as many as there are image tokens.
            unlearnt: for each answer the stretches of it that are read but not learnt; empty: there are none.

        Raises:
            ValueError: a question or an answer holds the image token as a plain word of the vocabulary.
        """
        ids, mask = self.tokens(turns, unlearnt)
        images = self.geometry.tensors(image)
        if cells is None:
            return Encoded(ids, mask, images)
        labels = [label for row in cells.words() for label in row]
        return Encoded(ids, mask, images, self._first_tokens(labels), self._counts(run_lengths(cells.ids)))

    def tokens(self, turns: Turns, unlearnt: Sequence[Sequence[Span]] = ()) -> tuple[list[int], list[bool]]:
        """The token ids of a conversation and which of them are learnt, without the image's pixels."""
        ids: list[int] = []
        mask: list[bool] = []
        frame = self._frame(len(turns), turns[-1][1] is None)
        said = iter(self._plain_ids(words_of(turns), [piece.goes_on for piece in frame if piece.kind in SAID]))
        answers = iter(zip((text for _, text in turns), unlearnt, strict=False))
        for kind, own, _ in frame:
            piece = next(said) if kind in SAID else own
            ids += piece
            text, spans = next(answers, (None, ())) if kind == "answer" else (None, ())
            mask += self._learnt(text, spans) if text and spans else [kind in ("answer", "end")] * len(piece)
        return ids, mask

    def _learnt(self, text: str, spans: Sequence[Span]) -> list[bool]:
        """Which tokens of an answer do not end inside one of the stretches."""
        found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        return [not any(start < end <= stop for start, stop in spans) for _, end in found["offset_mapping"]]

    def _frame(self, turns: int, opens: bool) -> list[_Piece]:
        """The segments around the words; rendering a template costs more than tokenising an answer."""
        if (turns, opens) not in self._frames:
            settings = self.tokenizer, self.chat, self.image_place, self.layout, self.placeholder
            segments = skeleton(turns, opens, *settings)
            pieces, goes_on = [], False
            for segment, following in zip_longest(segments, segments[1:]):
                text, lends = segment.text, False
                if segment.kind in SAID:  # an answer begins anew, as generation begins it
                    pieces.append(_Piece(segment.kind, [], goes_on and segment.kind == "user"))
                    goes_on = True
                    continue
                if self._joints.blank and following and following.kind == "user" and text.endswith(" "):
                    text, lends = text[:-1], True  # the blank that the question begins with
                ids = self._frame_ids(text, goes_on)
                pieces.append(_Piece(segment.kind, ids, goes_on))
                goes_on = not lends and (self._joints.goes_on(ids[-1]) if ids else goes_on)
            self._frames[turns, opens] = pieces
        return self._frames[turns, opens]

    def _frame_ids(self, text: str, goes_on: bool) -> list[int]:
        ids: list[int] = []
        before, after = self.frame
        for number, part in enumerate(text.replace(IMAGE, before + IMAGE + after).split(IMAGE)):
            if number:
                ids += self._image_ids()
                goes_on = self._joints.goes_on(ids[-1])
            if part:
                ids += self._joints.ids([part], [goes_on], plain=False)[0]
        return ids

    def _image_ids(self) -> list[int]:
        if not self.row_ends:
            return [self.image_token_id] * self.geometry.num_tokens
        side = self.geometry.tokens_a_side
        return ([self.image_token_id] * side + self.tokenizer("\n", add_special_tokens=False)["input_ids"]) * side

    def _plain_ids(self, texts: list[str], going_on: Sequence[bool] = ()) -> list[list[int]]:
        """Ids of the words of a user, in which names of special tokens are words and no picture has its place."""
        found = self._joints.ids(texts, going_on or [False] * len(texts), plain=True)
        for text, ids in zip(texts, found, strict=True):
            if self.image_token_id in ids:
                raise ValueError(f"the text {text!r:.60} holds the image token; take it out of your question or label.")
        return found

    def _first_tokens(self, labels: Sequence[str]) -> list[int]:
        """The token that each label begins with where the `full` codec writes it into a cell."""
        names = sorted(set(labels))
        known = {name: ids[0] for name, ids in zip(names, self._plain_ids([f"{n}|" for n in names]), strict=True)}
        return [known[label] for label in labels]

    def _counts(self, lengths: NDArray[np.int64]) -> list[int]:
        """One sign a length, as far as signs go: the token that a star and the sign end with."""
        return [self._signs[n] if 0 < n < len(self._signs) else -100 for n in lengths.reshape(-1)]

    @cached_property
    def _signs(self) -> list[int]:
        """The token that a star and each of the signs end with."""
        return [ids[-1] for ids in self._plain_ids([f"{STAR}{sign}" for sign in SIGNS])]

    def collate(
        self, batch: Sequence[Encoded], side: str = "right", pad_to_multiple_of: int = 1, max_length: int | None = None
    ) -> dict[str, Tensor]:
        """Pad conversations to one length.

        Args:
            pad_to_multiple_of: the length is rounded up to such a multiple, but not beyond `max_length`.
            max_length: tokens that the model has room for.
            side: `right` for training (adds ``labels`` ``[B, T]`` with -100 outside the answers), `left` for
                generation.

        Returns:
            ``input_ids`` and ``attention_mask`` ``[B, T]``, the images' tensors (``pixel_values`` ``[B, 3, S, S]``);
            where image tokens have to name their cells also ``cells`` ``[B, T]``: the token that each position names,
            -100 elsewhere, and ``counts`` ``[B, T]``, alike for the lengths of runs.
        """
        longest = max(len(e.input_ids) for e in batch)
        rounded = -(-longest // pad_to_multiple_of) * pad_to_multiple_of
        length = rounded if max_length is None else max(longest, min(rounded, max_length))
        ids = torch.full((len(batch), length), self.pad_id)
        attention = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for row, e in enumerate(batch):
            num = len(e.input_ids)
            span = slice(length - num, length) if side == "left" else slice(0, num)
            ids[row, span] = torch.tensor(e.input_ids)
            attention[row, span] = 1
            labels[row, span] = torch.where(torch.tensor(e.answer_mask), ids[row, span], -100)
        images = {name: _joined([e.images[name] for e in batch]) for name in batch[0].images}
        out = {"input_ids": ids, "attention_mask": attention, **images}
        if side == "right":
            out["labels"] = labels
        if any(e.cells is not None for e in batch):
            out["cells"], out["counts"] = torch.full_like(ids, -100), torch.full_like(ids, -100)
            for row, e in enumerate(batch):
                places = (ids[row] == self.image_token_id).nonzero()[:, 0]
                if e.cells is not None:
                    out["cells"][row, places] = torch.tensor(e.cells)
                if e.counts is not None:
                    out["counts"][row, places + 1] = torch.tensor(e.counts)
        return out

    def save(self, folder: str | Path) -> None:
        """Write tokenizer and image settings beside a model's weights, as transformers reads them."""
        self.tokenizer.save_pretrained(folder)
        (Path(folder) / IMAGE_FILE).write_text(json.dumps(self.image_settings(), indent=2) + "\n", encoding="utf-8")

    def image_settings(self) -> dict[str, Any]:
        """The same stretch and statistics in the words of transformers' image processors."""
        side = self.geometry.side
        return {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": True,
            "size": {"height": side, "width": side},
            "resample": int(Image.Resampling.BICUBIC),
            "do_center_crop": False,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.geometry.mean),
            "image_std": list(self.geometry.std),
        }


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Pictures one behind the other along the first axis."""
    if len({part.shape for part in parts}) > 1:
        return torch.cat(list(parts))
    # In a loading process this stacks where the training process can read: the whole batch is copied once less.
    return default_collate(list(parts)).flatten(0, 1)


def model_inputs(batch: dict[str, Any]) -> dict[str, Tensor]:
    """The part of a collated batch that goes into the model; what else travels with it is no tensor."""
    return {name: part for name, part in batch.items() if isinstance(part, Tensor) and name not in TARGETS}


def image_statistics(path: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation that a checkpoint's images are normalised with, (R, G, B) of 0..1.

    Raises:
        ValueError: the checkpoint has no `preprocessor_config.json` that states them.
    """
    try:
        raw = ImageProcessingMixin.get_image_processor_dict(path)[0]
        mean, std = raw["image_mean"], raw["image_std"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path!r} has no readable {IMAGE_FILE} with image_mean and image_std: {error}") from error
    return tuple(mean), tuple(std)
