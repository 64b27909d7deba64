"""Records what the published DeepSeek-VL code computes, so that the native models can be held against it.

    git clone https://github.com/deepseek-ai/DeepSeek-VL
    python -m venv ref && ref/bin/pip install torch torchvision transformers timm einops
    ref/bin/python tests/reference/deepseek_vl.py DeepSeek-VL tests/reference/deepseek_vl.json

Writes configurations, names and shapes of weights, and logits of tiny models: their towers and aligners, and the Llama
of transformers that their model class wraps. Weights come from `weights.py`; nothing of the published code is kept.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from weights import drawn_all, picture

IMAGE, SIDE = 7, 96
IDS = [1, 5, 9, *[IMAGE] * 576, 13, 77, 140, 21, 3]
SHOWN = [0, 1, 8, 50, 123, 200, 257, 299]
HIGH_MEAN, HIGH_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 1024,
    "model_type": "llama",
}
LOW = {"model_name": "siglip_tiny", "image_size": SIDE, "select_feature": "same", "select_layer": -1}
HIGH = {"model_name": "sam_tiny", "image_size": SIDE, "output_dim": 32, "select_feature": "same", "select_layer": -1}


def published(clone: str) -> tuple[Any, Any]:
    """Their modules of towers and aligners, without the package's own imports (they want old versions)."""
    sys.modules["attrdict"] = types.SimpleNamespace(AttrDict=dict)  # type: ignore[assignment]
    for name in ("deepseek_vl", "deepseek_vl.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(clone, *name.split(".")))]
        sys.modules[name] = package
    towers = importlib.import_module("deepseek_vl.models.clip_encoder")
    siglip = importlib.import_module("deepseek_vl.models.siglip_vit")
    sam = importlib.import_module("deepseek_vl.models.sam")
    size = {"image_size": SIDE, "patch_size": 4, "width": 32, "layers": 2, "heads": 4, "mlp_ratio": 2}
    siglip.SigLIP_MODEL_CONFIG["siglip_tiny"] = {**size, "global_pool": "map", "use_checkpoint": False}
    size = {"width": 32, "layers": 3, "heads": 4, "global_attn_indexes": [1, 2], "prompt_embed_dim": 8}
    sam.SAM_MODEL_CONFIG["sam_tiny"] = {**size, "downsample_channels": (16, 32)}
    return towers, importlib.import_module("deepseek_vl.models.projector")


class Options(dict):
    """Their configurations are read by attribute."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@torch.inference_mode()
def record(towers: Any, projector: Any, hybrid: bool) -> dict[str, Any]:
    """One model's fixture."""
    params: dict[str, Any] = {**LOW, "pixel_mean": [0.5] * 3, "pixel_std": [0.5] * 3}
    if hybrid:
        high = {**HIGH, "pixel_mean": HIGH_MEAN, "pixel_std": HIGH_STD}
        params = {"concat_type": "tuple", "high_res_cfg": high, "low_res_cfg": {**params, "output_dim": 32}}
    kind = "low_high_hybrid_split_mlp_gelu" if hybrid else "mlp_gelu"
    aligner = {"depth": 2, "input_dim": 32, "n_embed": 32, "projector_type": kind}
    model = torch.nn.Module()
    model.vision_model = (towers.HybridVisionTower if hybrid else towers.CLIPVisionTower)(**params)
    model.aligner = projector.MlpProjector(Options(aligner))
    model.language_model = LlamaForCausalLM(LlamaConfig(**TEXT))
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn_all(shapes).items()})
    model.eval()
    pictures = model.aligner(model.vision_model(torch.from_numpy(picture(SIDE))))
    ids = torch.tensor([IDS])
    embeds = model.language_model.get_input_embeddings()(ids)
    embeds[ids == IMAGE] = pictures[0]
    logits = model.language_model(inputs_embeds=embeds).logits
    config = {
        "model_type": "multi_modality",
        "vision_config": {"params": params},
        "aligner_config": {"params": aligner},
        "language_config": TEXT,
    }
    return {"config": config, "shapes": shapes, "logits": logits[0, -6:, SHOWN].tolist()}


def main() -> None:
    """Write the fixture."""
    towers, projector = published(sys.argv[1])
    found = {name: record(towers, projector, hybrid) for name, hybrid in (("single", False), ("hybrid", True))}
    fixture = {"ids": IDS, "shown": SHOWN, "image": IMAGE, "side": SIDE, **found}
    Path(sys.argv[2]).write_text(json.dumps(fixture) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
