"""A frozen tower's features of every picture, kept on disk: each picture is looked at once, in all epochs and runs.

A picture is known by its pixels as the tower gets them, so whatever made them (another size, a crop, a flip) has its
own entry, and nothing has to be told when the data change. One NumPy file a picture, in the folder of its tower.
Axis legend: B batch, S side in pixels, P patches, C width of the tower.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class FeatureCache:
    """Features by picture.

    Args:
        folder: where they are kept; those of another tower, or of other weights, lie beside them.
        tower: frozen; one that trains or holds an adapter is asked for its features every time.
    """

    def __init__(self, folder: Path, tower: nn.Module) -> None:
        self.tower = tower
        self.folder = folder / digest_of(tower)
        self.hits = self.misses = 0
        self._full = False

    def __call__(self, pixels: Tensor, look: Callable[[Tensor], Tensor]) -> Tensor:
        """Features ``[B, P, C]`` of pictures ``[B, 3, S, S]``; `look` makes those that are not there yet."""
        if any(p.requires_grad or "lora_" in name for name, p in self.tower.named_parameters()):
            return look(pixels)  # an adapter came after the folder got its name, whether or not it trains now
        paths = [self._path(picture) for picture in pixels]
        found = [_read(path) for path in paths]
        missing = [number for number, features in enumerate(found) if features is None]
        self.hits, self.misses = self.hits + len(paths) - len(missing), self.misses + len(missing)
        if missing:
            with torch.no_grad():
                made = look(pixels[missing])
            for number, features in zip(missing, made, strict=True):
                found[number] = features
                self._write(paths[number], features)
        return torch.stack([f.to(pixels.device) for f in found if f is not None])

    def _path(self, picture: Tensor) -> Path:
        """Under mixed precision a tower computes other features: they have names of their own."""
        kind = picture.device.type
        mixed = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "exact"
        data = picture.detach().cpu().contiguous().view(torch.uint8).numpy()
        name = hashlib.sha256(mixed.encode() + data.tobytes()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"

    def _write(self, path: Path, features: Tensor) -> None:
        """Whole or not at all, whoever else writes it; a full disk costs time and nothing else."""
        if self._full:
            return
        plain = features.detach().cpu()
        array = plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain  # NumPy has no bfloat16
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as stream:
                np.save(stream, array.numpy())
            Path(stream.name).replace(path)
        except OSError as error:
            self._full = True
            warnings.warn(f"features are no longer kept in {self.folder}: {error}", stacklevel=2)


def digest_of(module: nn.Module) -> str:
    """Name of a module's very weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> Tensor | None:
    """What is kept of a picture; None where nothing is, or nothing whole."""
    try:
        array = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    kept = torch.from_numpy(array)
    return kept.view(torch.bfloat16) if kept.dtype == torch.int16 else kept
