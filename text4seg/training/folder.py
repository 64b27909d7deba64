"""The run folder: where it is, and how a stopped run is found again."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from text4seg.config import Config
from text4seg.models.zero_files import MODEL_STATES, shards_in
from text4seg.training.launch import launched, local_rank

RUNS = Path("runs")
SHARED_NAME = "TEXT4SEG_RUN_DIR"
"""The first process tells the others of its node through this variable which folder it chose."""

CHECKPOINT = re.compile(r"step-(\d+)\.ckpt")


def choose(config: Config) -> Path:
    """The folder of a new run: `run_dir`, or the first of runs/NAME, runs/NAME-2, ... that is not there.

    Raises:
        ValueError: `run_dir` holds a run already, or several launched processes would have to agree on a name.
    """
    if SHARED_NAME in os.environ and local_rank() != 0:
        return Path(os.environ[SHARED_NAME])
    if config.run_dir is not None:
        folder = Path(config.run_dir)
        if (folder / "config.yaml").exists():
            raise ValueError(
                f"{folder} holds a run already. Continue it with --resume {folder}, or give another run_dir."
            )
    elif (found := launched()) and found.ranks > 1:
        raise ValueError("several processes were launched: give `run_dir=...` so that they agree on the folder.")
    else:
        names = [RUNS / config.name, *(RUNS / f"{config.name}-{number}" for number in range(2, 10000))]
        folder = next(name for name in names if not name.exists())
    os.environ[SHARED_NAME] = str(folder)
    return folder


def checkpoint_of(run: Path) -> Path | None:
    """The newest checkpoint of a run to go on from; None when there is none yet.

    Raises:
        ValueError: it is damaged.
    """
    found = [path for path in (run / "checkpoints").glob("step-*") if CHECKPOINT.fullmatch(path.name)]
    if not found:
        return None
    newest = max(found, key=step_of)
    if damage := _damage(newest):
        others = "the checkpoint before it" if len(found) > 1 else "step 0"
        raise ValueError(
            f"{newest} is damaged ({damage}). Put a whole copy in its place; or delete it, then --resume goes on from "
            f"{others}."
        )
    return newest


def step_of(checkpoint: Path | None) -> int:
    """The step after which a checkpoint was saved; 0 for none."""
    match = CHECKPOINT.fullmatch(checkpoint.name) if checkpoint else None
    return int(match[1]) if match else 0


def _damage(path: Path) -> str:
    if path.is_file():
        return _zip_damage(path)
    shards = shards_in(path)
    if shards != list(range(max(1, len(shards)))):
        missing = min(set(range(len(shards) + 1)) - set(shards))
        return f"the optimizer's states of rank {missing} are missing"
    for name in ("latest", f"checkpoint/{MODEL_STATES}"):
        if not (path / name).is_file():
            return f"{name} is missing"
    damages = ((file, _zip_damage(file)) for file in sorted((path / "checkpoint").glob("*.pt")))
    return next((f"{file.name}: {damage}" for file, damage in damages if damage), "")


def _zip_damage(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:  # what torch.save writes
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        return str(error)
    return f"{broken} is not what was written" if broken else ""
