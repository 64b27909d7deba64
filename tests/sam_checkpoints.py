"""Tiny random checkpoints of the Segment Anything classes that transformers holds, laid out as the published ones."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamImageProcessor,
    SamModel,
)

SIDE, PATCH, WIDTH = 64, 8, 16
"""Of the model's square and its patches in pixels, of its layers in channels."""
FIRST = ("sam", "sam_hq")
"""Keep the aspect ratio and pad; the others stretch."""
KINDS = (*FIRST, "sam2", "sam3_tracker")

_PROMPTS = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": PATCH}
_DECODER = {
    "hidden_size": WIDTH,
    "mlp_dim": WIDTH,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": WIDTH,
    "iou_head_depth": 2,
}
_EYES = {
    "hidden_size": WIDTH,
    "output_channels": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "window_size": 4,
    "global_attn_indexes": [1],
    "mlp_dim": WIDTH,
    "num_pos_feats": WIDTH // 2,
}
_MAPS = {"backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]], "fpn_hidden_size": WIDTH}


def write_sam(folder: Path, kind: str) -> Path:
    """A checkpoint of that `model_type`, image processor included; weights are random, but the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, images = _FIRST[kind]() if kind in FIRST else _LATER[kind]()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    images.save_pretrained(folder)
    return folder


def _sam() -> tuple[SamModel, SamImageProcessor]:
    config = SamConfig(
        vision_config=_EYES,
        prompt_encoder_config={**_PROMPTS, "image_embedding_size": SIDE // PATCH},
        mask_decoder_config=_DECODER,
    )
    return SamModel(config), _padding()


def _sam_hq() -> tuple[SamHQModel, SamImageProcessor]:
    config = SamHQConfig(
        vision_config=_EYES,
        prompt_encoder_config={**_PROMPTS, "image_embedding_size": SIDE // PATCH},
        mask_decoder_config={**_DECODER, "vit_dim": WIDTH},
    )
    return SamHQModel(config), _padding()


def _padding() -> SamImageProcessor:
    low = 4 * SIDE // PATCH
    square = {"height": SIDE, "width": SIDE}
    return SamImageProcessor(
        size={"longest_edge": SIDE},
        pad_size=square,
        mask_size={"longest_edge": low},
        mask_pad_size={"height": low, "width": low},
    )


def _sam2() -> tuple[Sam2Model, Sam2ImageProcessor]:
    eyes = Sam2VisionConfig(
        backbone_config={
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [SIDE, SIDE],
            "patch_kernel_size": [3, 3],
            "patch_stride": [2, 2],
            "patch_padding": [1, 1],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [8, 4, 4, 4],
            "global_attention_blocks": [3],
        },
        backbone_channel_list=[64, 32, 16, 8],
        **_MAPS,
    )
    config = Sam2Config(
        vision_config=eyes,
        prompt_encoder_config=Sam2PromptEncoderConfig(**_PROMPTS),
        mask_decoder_config=Sam2MaskDecoderConfig(**_DECODER),
    )
    size = {"height": SIDE, "width": SIDE}
    return Sam2Model(config), Sam2ImageProcessor(size=size, mask_size={"height": 32, "width": 32})


def _sam3() -> tuple[Sam3TrackerModel, Sam3ImageProcessor]:
    eyes = {
        "model_type": "sam3_vision_model",
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "pretrain_image_size": SIDE,
            "patch_size": PATCH,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
        **_MAPS,
    }
    config = Sam3TrackerConfig(vision_config=eyes, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    size = {"height": SIDE, "width": SIDE}
    return Sam3TrackerModel(config), Sam3ImageProcessor(size=size, mask_size={"height": 32, "width": 32})


_FIRST = {"sam": _sam, "sam_hq": _sam_hq}
_LATER = {"sam2": _sam2, "sam3_tracker": _sam3}
