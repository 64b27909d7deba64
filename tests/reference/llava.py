"""Records what the original LLaVA code computes, so that the native model can be held against it.

    git clone https://github.com/haotian-liu/LLaVA
    python -m venv ref && ref/bin/pip install torch transformers==4.44.2 einops sentencepiece requests pillow
    ref/bin/python tests/reference/llava.py LLaVA tests/reference/llava.json

Writes the configuration, names and shapes of weights, and logits of a tiny model: its merged checkpoint holds language
model and projector, the tower is a CLIP of its own. Weights come from `weights.py`; no original code is kept.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel
from weights import drawn_all, picture

SIDE = 32
PLACE = -200
IDS = [1, 5, 9, PLACE, 13, 77, 140, 256, 21, 3]
SHOWN = [0, 1, 7, 50, 123, 200, 257, 299]
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 8,
}
CONFIG = {
    "architectures": ["LlavaLlamaForCausalLM"],
    "model_type": "llava_llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "mm_vision_tower": "clip",
    "mm_hidden_size": 32,
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}


def load_drawn(model: torch.nn.Module) -> dict[str, list[int]]:
    """Give every weight its drawn numbers; gives names and shapes."""
    shapes = {k: list(v.shape) for k, v in model.state_dict().items() if v.is_floating_point()}
    drawn = {k: torch.from_numpy(v) for k, v in drawn_all(shapes).items()}
    model.load_state_dict(drawn, strict=False)
    return shapes


@torch.no_grad()
def main() -> None:
    """Write the fixture."""
    sys.path.insert(0, sys.argv[1])
    from llava.model.language_model.llava_llama import LlavaConfig, LlavaLlamaForCausalLM

    clip = CLIPVisionModel(CLIPVisionConfig(**CLIP)).eval()
    with tempfile.TemporaryDirectory() as name:
        tower_shapes = load_drawn(clip)
        clip.save_pretrained(name)
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(name)
        numbers = {key: value for key, value in CONFIG.items() if key != "model_type"}
        model: Any = LlavaLlamaForCausalLM(LlavaConfig(**{**numbers, "mm_vision_tower": name})).eval()
        model.get_vision_tower().load_model()
        shapes = load_drawn(model)
        model.get_vision_tower().vision_tower.load_state_dict(clip.state_dict())
        images = torch.from_numpy(picture(SIDE))
        out = model(input_ids=torch.tensor([IDS]), attention_mask=torch.ones(1, len(IDS)), images=images)
    logits = out.logits[0].double().numpy()
    fixture = {
        "config": CONFIG,
        "clip": CLIP,
        "shapes": {k: v for k, v in shapes.items() if "vision_tower" not in k},
        "clip_shapes": tower_shapes,
        "ids": IDS,
        "shown": SHOWN,
        "logits": np.round(logits[:, SHOWN], 6).tolist(),
        "logsumexp": np.round(np.logaddexp.reduce(logits, axis=-1), 6).tolist(),
    }
    Path(sys.argv[2]).write_text(json.dumps(fixture) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
