"""What the framework costs: `fit` beside a bare torch loop and trl's SFTTrainer, on one model and the same batches.

    python benchmarks/overhead.py [--rounds 3] [--steps 14] [--trl FOLDER]

A random LLaVA of SmolLM2-135M's size (576 wide, 30 layers, 49,152 words), LoRA, float32, one process with one thread.
The contestants take turns, each in a process of its own, round after round, so that a busy machine slows all of them;
the first 4 steps of a round are not counted. All read the same stream of shards from the same seed, and the first two
must come to the same losses. trl brings its own loss (full logits, mean over tokens). FOLDER holds trl (`pip install
--no-deps --target FOLDER trl`) and wants `pip install 'text4seg[hub]'`. Printed: the median step with a 95 % interval
(bootstrap), its ratio to the bare loop's, and the peak of the resident set above what it was after the imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WARM = 4


def main() -> None:
    """Print the table, or be one of its contestants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=14, help="a round; the first 4 are not counted")
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--trl", type=Path, help="folder that holds the package trl")
    parser.add_argument("--contestant", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        name, folder = given.contestant
        print(json.dumps({"bare": bare, "fit": ours, "trl": theirs}[name](Path(folder))))
        return
    names = ["bare", "fit", *(["trl"] if given.trl else [])]
    found: dict[str, dict[str, list[Any]]] = {name: {"seconds": [], "memory": [], "losses": []} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), given)
        for number in range(given.rounds):
            for name in sorted(names, key=lambda name, n=number: (names.index(name) + n) % len(names)):
                result = run(name, folder, given)
                found[name]["seconds"] += result["seconds"][WARM:]
                found[name]["memory"].append(result["memory"])
                found[name]["losses"] = result["losses"]
    apart = max(abs(a - b) / abs(a) for a, b in zip(found["bare"]["losses"], found["fit"]["losses"], strict=True))
    print(f"losses of fit and of the bare loop differ by {apart:.1e} at most")
    base = statistics.median(found["bare"]["seconds"])
    print(f"{'':6}{'steps':>7}{'median step, s':>16}{'95 % interval':>20}{'to bare':>9}{'GiB above imports':>19}")
    for name, values in found.items():
        low, high = interval(values["seconds"])
        middle = statistics.median(values["seconds"])
        memory = statistics.median(values["memory"]) / 2**30
        told = f"{low:.3f} to {high:.3f}"
        print(f"{name:6}{len(values['seconds']):7}{middle:16.3f}{told:>20}{middle / base:9.3f}{memory:19.2f}")


def run(name: str, folder: str, given: argparse.Namespace) -> dict[str, Any]:
    """One contestant's round, in a process of its own."""
    told = dict(os.environ, OMP_NUM_THREADS="1")
    if name == "trl":
        told["PYTHONPATH"] = f"{told.get('PYTHONPATH', '')}{os.pathsep}{given.trl}"
    command = [sys.executable, __file__, "--contestant", name, folder]
    done = subprocess.run(command, capture_output=True, text=True, env=told, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the median, by bootstrap with a fixed seed."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[1949]


def write_config(folder: Path, given: argparse.Namespace) -> None:
    """The configuration that all contestants read."""
    (folder / "overhead.yaml").write_text(
        "name: overhead\n"
        f"model: {{family: tiny, path: random, options: {{width: {given.width}, language_layers: {given.layers},\n"
        f"  heads: 9, vocabulary: {given.vocabulary}}}, lora: {{rank: 16, dropout: 0.0}}}}\n"
        f"data: {{batch_size: {given.batch}, workers: 1, train: {{shards: {folder}/train, build: {{source: scenes, "
        "shards: 1, options: {count: 64}}}}\n"
        f"trainer: {{steps: {given.steps}, accelerator: cpu, devices: 1, threads: 1, checkpoint_every: 100000}}\n"
    )


def prepared(folder: Path) -> tuple[Any, Any, Iterator[dict[str, Any]]]:
    """Configuration, adapted backbone, and the stream that `fit` would read."""
    import torch

    from text4seg.config import load
    from text4seg.data.datamodule import ShardDataModule
    from text4seg.models.lora import choose_trained
    from text4seg.models.registry import load_backbone

    torch.set_num_threads(1)
    config = load(folder / "overhead.yaml", [])
    torch.manual_seed(config.seed)
    backbone = load_backbone(config.model)
    choose_trained(backbone, config.model)
    data = ShardDataModule(config.data, backbone.processor, config.seed)
    data.prepare_data()
    data.setup("fit")
    return config, backbone, iter(data.train_dataloader())


def bare(folder: Path) -> dict[str, Any]:
    """Forward, backward, clip, step: what no training can do without."""
    import torch

    from text4seg.models.loss import answer_loss
    from text4seg.models.processor import model_inputs
    from text4seg.training import fit as _imports  # noqa: F401  (the same baseline for all)

    base = resident()
    config, backbone, batches = prepared(folder)
    trained = [p for p in backbone.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.optim.lr, betas=(0.9, 0.95), weight_decay=0.0)
    warmup = -(-config.optim.warmup_ratio * config.trainer.steps // 1)
    seconds, losses = [], []
    mark = time.perf_counter()
    for step in range(config.trainer.steps):
        batch = next(batches)
        left = max(0.0, (config.trainer.steps - step) / max(1, config.trainer.steps - warmup))
        optimizer.param_groups[0]["lr"] = config.optim.lr * ((step + 1) / warmup if step < warmup else left)
        hidden = backbone.hidden_states(model_inputs(batch))
        loss = answer_loss(hidden, batch["labels"], backbone.logits, config.loss.reduction)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.optim.clip)
        optimizer.step()
        losses.append(float(loss.detach()))
        now = time.perf_counter()
        seconds.append(now - mark)
        mark = now
    return {"seconds": seconds, "losses": losses, "memory": peak() - base}


def ours(folder: Path) -> dict[str, Any]:
    """`fit` with all that it does beside the step."""
    import csv

    from rich.console import Console

    from text4seg.config import load
    from text4seg.training.fit import fit

    base = resident()
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    fit(load(folder / "overhead.yaml", []), run, Console(quiet=True))
    with (run / "logs" / "steps.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    losses = [float(line["loss"]) for line in lines]
    return {"seconds": [float(line["seconds"]) for line in lines], "losses": losses, "memory": peak() - base}


def theirs(folder: Path) -> dict[str, Any]:
    """trl's SFTTrainer, fed with the same batches by its collator."""
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from text4seg.models.processor import model_inputs
    from text4seg.training import fit as _imports  # noqa: F401  (the same baseline for all)

    base = resident()
    config, backbone, batches = prepared(folder)
    steps, seconds, losses = config.trainer.steps, [], []

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.mark = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            now = time.perf_counter()
            seconds.append(now - self.mark)
            self.mark = now

        def on_log(self, *args: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
            losses.append((logs or {}).get("loss"))

    def next_batch(rows: list[Any]) -> dict[str, Any]:
        batch = next(batches)
        return {**model_inputs(batch), "labels": batch["labels"]}

    arguments = SFTConfig(
        output_dir=str(Path(tempfile.mkdtemp(dir=folder))),
        max_steps=steps,
        per_device_train_batch_size=config.data.batch_size,
        learning_rate=config.optim.lr,
        warmup_steps=1,
        weight_decay=0.0,
        adam_beta2=0.95,
        max_grad_norm=config.optim.clip,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=False,
    )
    from datasets import Dataset

    rows = Dataset.from_dict({"input_ids": [[0]] * (steps * config.data.batch_size)})
    trainer = SFTTrainer(
        model=backbone.model,
        args=arguments,
        train_dataset=rows,
        data_collator=next_batch,
        processing_class=backbone.processor.tokenizer,
        callbacks=[Clock()],
    )
    trainer.train()
    return {"seconds": seconds, "losses": [loss for loss in losses if loss is not None], "memory": peak() - base}


def resident() -> int:
    """Bytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
