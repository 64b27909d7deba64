"""Configuration of Qwen-VL-Chat (2023): the published numbers, and in transformers' words those of its parts.

Source: Qwen-VL (arXiv 2308.12966).
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig, Qwen2Config, ViTConfig

VISUAL: dict[str, Any] = {
    "heads": 16,
    "image_size": 448,
    "image_start_id": 151857,
    "layers": 48,
    "mlp_ratio": 4.9231,
    "output_dim": 4096,
    "patch_size": 14,
    "width": 1664,
}
"""The published tower (OpenCLIP's ViT-bigG) and resampler."""
QUERIES = 256
"""Image tokens where `visual` does not say; also the positions in the tower's table, whatever the image's size."""
HEAD = 128
"""Width of a head of the resampler."""


class QwenVLConfig(PreTrainedConfig):
    """What a published `config.json` says; saved, it says so again.

    Args:
        vocab_size: rows of the table of tokens.
        hidden_size: width of the decoder.
        intermediate_size: twice the width of its MLP.
        num_hidden_layers: of the decoder.
        num_attention_heads: of the decoder.
        layer_norm_epsilon: of its RMS norms.
        rotary_emb_base: of its rotary positions.
        kv_channels: width of one head.
        seq_length: tokens that it was trained with.
        max_position_embeddings: tokens that it takes where nothing is scaled beyond `seq_length`.
        use_dynamic_ntk: the published code turns positions more slowly beyond `seq_length`.
        use_logn_attn: the published code sharpens attention beyond `seq_length`.
        visual: numbers of tower and resampler.
        tie_word_embeddings: never, in what was published.

    Raises:
        ValueError: what no published checkpoint has: partly rotated heads, heads of another width, biases.
    """

    model_type = "qwen"
    sub_configs = {  # pyrefly: ignore[bad-override]
        "text_config": Qwen2Config,
        "vision_config": ViTConfig,
    }

    def __init__(
        self,
        vocab_size: int = 151936,
        hidden_size: int = 4096,
        intermediate_size: int = 22016,
        num_hidden_layers: int = 32,
        num_attention_heads: int = 32,
        layer_norm_epsilon: float = 1e-6,
        rotary_emb_base: float = 10000,
        kv_channels: int = 128,
        seq_length: int = 2048,
        max_position_embeddings: int = 8192,
        use_dynamic_ntk: bool = True,
        use_logn_attn: bool = True,
        visual: dict[str, Any] | None = None,
        tie_word_embeddings: bool = False,
        **common: Any,
    ) -> None:
        if common.get("rotary_pct", 1.0) != 1.0 or not common.get("no_bias", True):
            raise ValueError(
                "a Qwen-VL has `rotary_pct: 1.0` and `no_bias: true`; this config.json is of another model."
            )
        if kv_channels * num_attention_heads != hidden_size:
            raise ValueError(
                f"{num_attention_heads} heads of `kv_channels` {kv_channels} do not make `hidden_size` {hidden_size}."
            )
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.layer_norm_epsilon = layer_norm_epsilon
        self.rotary_emb_base = rotary_emb_base
        self.kv_channels = kv_channels
        self.seq_length = seq_length
        self.max_position_embeddings = max_position_embeddings
        self.use_dynamic_ntk = use_dynamic_ntk
        self.use_logn_attn = use_logn_attn
        self.visual: dict[str, Any] = dict(visual or VISUAL)
        self.text_config = Qwen2Config(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=intermediate_size // 2,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=num_attention_heads,
            num_key_value_heads=num_attention_heads,
            rms_norm_eps=layer_norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": float(rotary_emb_base)},
            max_position_embeddings=self.context,
            tie_word_embeddings=False,
        )
        self.vision_config = ViTConfig(
            hidden_size=self.visual["width"],
            intermediate_size=int(self.visual["width"] * self.visual["mlp_ratio"]),
            num_hidden_layers=self.visual["layers"],
            num_attention_heads=self.visual["heads"],
            image_size=self.visual["image_size"],
            patch_size=self.visual["patch_size"],
            hidden_act="gelu",
            layer_norm_eps=1e-6,
        )
        self.tie_word_embeddings = tie_word_embeddings
        super().__init__(**common)

    @property
    def context(self) -> int:
        """Tokens that plain positions are right for; the published code scales beyond them, this one does not."""
        scaled = self.use_dynamic_ntk or self.use_logn_attn
        return self.seq_length if scaled else self.max_position_embeddings

    @property
    def image_token_id(self) -> int:
        """Id of ``<imgpad>``, which stands for an image token: behind ``<img>`` and ``</img>``."""
        return int(self.visual["image_start_id"]) + 2

    @property
    def image_seq_length(self) -> int:
        """Image tokens a picture."""
        return int(self.visual.get("n_queries", QUERIES))

    def to_dict(self) -> dict[str, Any]:
        """The published words only."""
        said = super().to_dict()
        del said["text_config"], said["vision_config"]
        return {**said, "architectures": ["QWenLMHeadModel"]}


AutoConfig.register(QwenVLConfig.model_type, QwenVLConfig)
