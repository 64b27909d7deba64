"""`stamp.json`: what a run was made with, so that a number can be traced."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from text4seg import __version__
from text4seg.callbacks.keeper import write_whole

if TYPE_CHECKING:
    from text4seg.config import Config
    from text4seg.models.backbone import Backbone
    from text4seg.models.lora import LoraReport

PACKAGES = ("torch", "transformers", "peft", "lightning", "torchmetrics", "webdataset", "deepspeed", "numpy")


def write_stamp(run: Path, config: Config, backbone: Backbone, report: LoraReport) -> None:
    """Write the stamp of a run; a resumed run adds itself to the list of starts."""
    path = run / "stamp.json"
    try:
        starts = json.loads(path.read_text())["starts"] if path.is_file() else []
    except (ValueError, KeyError, TypeError):  # damaged
        starts = []
    stamp: dict[str, Any] = {
        **made_with(),
        "hardware": made_on(),
        "seed": config.seed,
        "weights": {
            "loaded": backbone.loaded,
            "total": report.total,
            "trainable": report.trainable,
            "adapted_layers": report.targets,
        },
        "starts": [*starts, {"at": datetime.now(UTC).isoformat(timespec="seconds"), "argv": sys.argv[1:]}],
    }
    write_whole(path, json.dumps(stamp, indent=2) + "\n")


def made_with() -> dict[str, Any]:
    """Versions and commit."""
    return {
        "text4seg": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, `+` behind it when files differ from it; None outside a checkout of this package."""
    here = Path(__file__).resolve().parent
    try:
        run = {"cwd": here, "capture_output": True, "text": True, "check": True, "timeout": 10}
        subprocess.run(["git", "ls-files", "--error-unmatch", Path(__file__).name], **run)  # type: ignore[call-overload]
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **run).stdout.strip()  # type: ignore[call-overload]
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **run).stdout.strip()  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def made_on() -> dict[str, Any]:
    """Hardware of this process."""
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }
