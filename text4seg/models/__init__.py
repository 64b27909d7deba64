"""Backbones, LoRA and the LightningModule."""
