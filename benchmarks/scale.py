"""One process; DDP, ZeRO-2 and FSDP2 on two CPU ranks: the same losses, and what each takes and leaves.

    python benchmarks/scale.py [--steps 20] [--width 192] [--layers 6]

A random tiny model, LoRA, float32, global batch 8. Printed: the largest relative difference of a step's loss from
that of one process, the median step, the peak memory of a rank (its whole resident set), and the checkpoint's bytes
beside those of all weights. On one machine's cores two ranks are no faster than one; look at the differences and the
bytes.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS = {
    "one process": ["data.workers=2"],
    "ddp, 2 ranks": ["data.workers=1", "trainer.devices=2", "trainer.strategy=ddp"],
    "zero2, 2 ranks": ["data.workers=1", "trainer.devices=2", "trainer.strategy=zero2"],
    "fsdp2, 2 ranks": ["data.workers=1", "trainer.devices=2", "trainer.strategy=fsdp2"],
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first: list[float] = []
        print(f"{'':16}{'loss differs by':>18}{'step, s':>10}{'peak GiB':>10}{'checkpoint':>14}{'all weights':>14}")
        for way, words in WAYS.items():
            run = folder / way.split(",")[0].replace(" ", "-")
            trained = _train(folder, run, given, words)
            losses = [float(line["loss"]) for line in trained]
            first = first or losses
            apart = max(abs(a - b) / abs(b) for a, b in zip(losses, first, strict=True))
            step = statistics.median(float(line["seconds"]) for line in trained[2:])
            peak = json.loads((run / "logs" / "throughput.json").read_text())["peak_memory_gib"]
            saved = sum(path.stat().st_size for path in (run / "checkpoints").glob("*.ckpt/**/*") if path.is_file())
            saved += sum(path.stat().st_size for path in (run / "checkpoints").glob("*.ckpt") if path.is_file())
            weights = 4 * json.loads((run / "stamp.json").read_text())["weights"]["total"]
            print(f"{way:16}{apart:18.1e}{step:10.3f}{peak:10.2f}{saved:14,}{weights:14,}")


def _train(folder: Path, run: Path, given: argparse.Namespace, words: list[str]) -> list[dict[str, str]]:
    scenes = "{source: scenes, shards: 2, options: {count: 64}}"
    config = folder / "scale.yaml"
    config.write_text(
        "name: scale\n"
        f"model: {{family: tiny, path: random, options: {{width: {given.width}, language_layers: {given.layers}}}, "
        "lora: {rank: 16, dropout: 0.0}}\n"
        f"data: {{batch_size: 4, train: {{shards: {folder}/train, build: {scenes}}}}}\n"
        f"trainer: {{steps: {given.steps}, global_batch: 8, accelerator: cpu, devices: 1, threads: 1}}\n"
    )
    command = [sys.executable, "-m", "text4seg.fit", "--config", str(config), f"run_dir={run}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{run.name} failed:\n{done.stderr[-3000:]}")
    with (run / "logs" / "steps.csv").open() as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    main()
