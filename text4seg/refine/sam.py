"""Refine with a Segment Anything model that transformers holds: SAM, SAM-HQ, SAM 2, the tracker of SAM 3.

A picture is encoded once, whatever is asked about it; each label of a grid is then prompted for by itself
(:mod:`.prompts`). `geometric` takes of SAM's three masks the one that agrees best with the coarse mask, and keeps the
coarse mask where even that agrees too little. The published ways ask three times, feeding the answer back, and take
what comes.
Axis legend: H, W pixels of the picture; M masks that SAM offers.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForMaskGeneration

from text4seg.descriptors import LabelGrid, paint

from .prompts import CERTAIN, Frame, Prompt, geometric, published
from .settings import PROMPTS, SamSettings

PUBLISHED_PASSES = 3


@dataclass(frozen=True, eq=False)
class _Seen:
    """A picture as SAM holds it.

    Attributes:
        digest: says which picture it is.
        frame: where it lies in SAM's square.
        embedding: the encoder's output, as arguments of the model.
        sizes: what `post_process_masks` wants to know.
    """

    digest: bytes
    frame: Frame
    embedding: dict[str, Any]
    sizes: dict[str, Any]


class SamRefiner:
    """Grids to masks with one SAM; see :data:`.refiner.Refiner`.

    Args:
        settings: which checkpoint, and how it is prompted.
        device: where it runs.

    Raises:
        ValueError: the checkpoint cannot be read or lacks weights, or there are no such prompts.
    """

    def __init__(self, settings: SamSettings, device: torch.device | str = "cpu") -> None:
        if settings.prompts not in PROMPTS:
            raise ValueError(f"`refine.sam.prompts` must be one of {', '.join(PROMPTS)}, got {settings.prompts!r}.")
        self.settings, self.device = settings, device
        self.model, self.images = _loaded(settings.path)
        self.model.to(device)
        self._seen: _Seen | None = None

    def __call__(self, grid: LabelGrid, picture_HW3: NDArray[np.uint8], name: str = "") -> NDArray[np.int32]:
        """Ids into the grid's labels, ``[H, W]``; `name` of the question seeds what the published prompts draw."""
        height, width, _ = picture_HW3.shape
        coarse_HW = paint(grid, (height, width), "nearest")
        present = [int(label) for label in np.unique(grid.ids) if label]
        if not present or _vanishes((height, width), self.images):
            return coarse_HW
        ids_HW = np.zeros((height, width), np.int32)
        best_HW = np.zeros((height, width), np.float32)
        for label in present:
            rng = np.random.default_rng([self.settings.seed, zlib.crc32(name.encode()), label])
            logits_HW = self._refined(grid.ids == label, coarse_HW == label, picture_HW3, rng)
            # Published: classes overwrite those before them. Otherwise the surest one has the pixel.
            wins_HW = logits_HW > (0 if self.settings.prompts != "geometric" else best_HW)
            ids_HW[wins_HW], best_HW[wins_HW] = label, logits_HW[wins_HW]
        return ids_HW

    def _refined(
        self,
        cells_RC: NDArray[np.bool_],
        coarse_HW: NDArray[np.bool_],
        picture_HW3: NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Logits of one label, ``[H, W]``."""
        seen, kind = self.see(picture_HW3), self.settings.prompts
        if kind == "geometric":
            prompt = geometric(cells_RC, seen.frame, self.settings.points, self.settings.box)
            offered_MHW = self._whole(self._ask(seen, prompt, several=True), seen)
            agreed = [_iou(logits_HW > 0, coarse_HW) for logits_HW in offered_MHW]
            best = int(np.argmax(agreed))
            return offered_MHW[best] if agreed[best] >= self.settings.agree else _certain(coarse_HW)
        prompt = published(cells_RC, coarse_HW, seen.frame, PROMPTS[kind][0], PROMPTS[kind][1], rng)
        low: torch.Tensor | None = None
        for _ in range(PUBLISHED_PASSES):
            low = self._ask(seen, prompt, several=False, logits=low)
        assert low is not None
        return self._whole(low, seen)[0]

    def see(self, picture_HW3: NDArray[np.uint8]) -> _Seen:
        """Encode a picture, unless it is the last one that was."""
        digest = hashlib.blake2b(picture_HW3.tobytes(), salt=str(picture_HW3.shape[:2]).encode()[:16]).digest()
        if self._seen is None or self._seen.digest != digest:
            made = self.images(images=Image.fromarray(picture_HW3), return_tensors="pt")
            pixels = made.pop("pixel_values").to(self.device, self.model.dtype)
            sizes = {name: made[name] for name in ("original_sizes", "reshaped_input_sizes") if name in made}
            with torch.inference_mode():
                encoded = self.model.get_image_embeddings(pixels)
            embedding = {"image_embeddings": encoded}
            if isinstance(encoded, tuple):  # SAM-HQ
                embedding = dict(zip(("image_embeddings", "intermediate_embeddings"), encoded, strict=True))
            side = pixels.shape[-1]
            filled = sizes["reshaped_input_sizes"][0].tolist() if "reshaped_input_sizes" in sizes else (side, side)
            frame = Frame(picture_HW3.shape[:2], (filled[0], filled[1]), side, _low_side(self.model))
            self._seen = _Seen(digest, frame, embedding, sizes)
        return self._seen

    def _ask(self, seen: _Seen, prompt: Prompt, several: bool, logits: torch.Tensor | None = None) -> torch.Tensor:
        """Low-resolution logits ``[1, M, L, L]``; ``logits`` replace those of the prompt."""
        like = {"device": self.device, "dtype": self.model.dtype}
        given = torch.tensor(prompt.logits, **like)[None, None] if logits is None else logits
        boxes = None if prompt.box is None else torch.tensor(prompt.box, **like)[None, None] - 0.5
        with torch.inference_mode():
            out = self.model(
                **seen.embedding,
                input_points=torch.tensor(prompt.points, **like)[None, None] - 0.5,  # the model adds it again
                input_labels=torch.tensor(prompt.inside.astype(int), device=self.device)[None, None],
                input_boxes=boxes,
                input_masks=given,
                multimask_output=several,
            )
        return out.pred_masks[:, 0]

    def _whole(self, low: torch.Tensor, seen: _Seen) -> NDArray[np.float32]:
        """Logits at the picture's size, ``[M, H, W]``."""
        whole = self.images.post_process_masks([low.float().cpu()], binarize=False, **seen.sizes)[0]
        return whole.reshape(-1, *seen.frame.size).numpy()


def _loaded(path: str) -> tuple[Any, Any]:
    try:
        model, found = AutoModelForMaskGeneration.from_pretrained(path, output_loading_info=True)
        images = AutoImageProcessor.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"`refine.sam.path` {path!r} cannot be loaded ({str(error).strip().splitlines()[0]}): give a hub name such "
            "as facebook/sam-vit-huge, or the folder of a SAM, SAM-HQ, SAM 2 or SAM 3 checkpoint."
        ) from error
    if found["missing_keys"]:
        raise ValueError(
            f"`refine.sam.path` {path!r} lacks weights, such as {sorted(found['missing_keys'])[0]}: they would be "
            "random. Give a whole checkpoint."
        )
    return model.eval(), images


def _vanishes(size: tuple[int, int], images: Any) -> bool:
    """Whether a picture is so thin that nothing is left of its shorter side where its aspect ratio is kept."""
    longest = images.size.get("longest_edge")
    return longest is not None and int(min(size) * longest / max(size) + 0.5) == 0


def _low_side(model: Any) -> int:
    """Side of the masks that the model takes and gives."""
    size = getattr(model.prompt_encoder, "mask_input_size", None)
    return int(size[0] if size else 4 * model.prompt_encoder.image_embedding_size[0])


def _certain(mask_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask_HW, CERTAIN, -CERTAIN).astype(np.float32)


def _iou(a_HW: NDArray[np.bool_], b_HW: NDArray[np.bool_]) -> float:
    union = (a_HW | b_HW).sum()
    return float((a_HW & b_HW).sum() / union) if union else 1.0
