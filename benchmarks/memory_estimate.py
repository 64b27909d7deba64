"""What `fit --dry-run` says about memory against what a training on this CPU takes, for three sizes of model.

    python benchmarks/memory_estimate.py [--sizes 768x14 768x28 1024x24] [--steps 3] [key=value ...]

Each size is trained in a process of its own: LoRA, random weights, in float32 with fused attention unless the words say
otherwise. Measured is the peak of its resident set above what it holds once a training of a tiny model has brought in
all code and kernels; that is what the estimate counts: weights, optimizer with gradients, activations. Its lengths are
those of the batches that were trained.

The processes give freed tensors back to the system (`MALLOC_MMAP_THRESHOLD_`), so that what is resident is what is
alive. `--heap` measures glibc's heap as it comes as well, which keeps what is free and, in older versions, is known not
to use a freed place again for an aligned block of the same size.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

BATCH = 4
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def main() -> None:
    """Print the table, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="key=value", help="settings of the trainings")
    parser.add_argument("--sizes", nargs="+", default=["768x14", "768x28", "1024x24"], metavar="WIDTHxLAYERS")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--heap", action="store_true", help="measure glibc's heap as it comes, too")
    parser.add_argument("--measure", metavar="SIZE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        _measure(given.measure, given.steps, given.words)
        return
    print(
        f"{'size':>10}{'parameters':>14}{'estimate MiB':>14}{'measured MiB':>14}{'estimate off by':>17}{'heap MiB':>10}"
    )
    for size in given.sizes:
        parameters, estimated, measured = _apart(size, given, GIVES_BACK)
        heap = f"{_apart(size, given, {})[-1] / 2**20:10,.0f}" if given.heap else ""
        off = estimated / measured - 1
        print(
            f"{size:>10}{parameters:14,}{estimated / 2**20:14,.0f}{measured / 2**20:14,.0f}{off:17.1%}{heap}",
            flush=True,
        )


def _apart(size: str, given: argparse.Namespace, environment: dict[str, str]) -> tuple[int, ...]:
    command = [sys.executable, __file__, *given.words, "--measure", size, "--steps", str(given.steps)]
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(f"{size} failed:\n{done.stderr[-3000:]}")
    return tuple(map(int, done.stdout.split()[-3:]))


def _measure(size: str, steps: int, words: list[str]) -> None:
    from rich.console import Console

    from text4seg.config import load
    from text4seg.training.estimate import estimate
    from text4seg.training.fit import fit

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit(load(_config(folder, "48x1", 1), words), folder / "warm", Console(quiet=True))
        base = _resident()
        settings = load(_config(folder, size, steps), words)
        fit(settings, folder / "run", Console(quiet=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with (folder / "run" / "logs" / "steps.csv").open() as stream:
            lines = list(csv.DictReader(stream))
    batch = settings.data.batch_size
    length, answer = (max(int(line[key]) for line in lines) // batch for key in ("tokens", "answer_tokens"))
    expected = estimate(settings, length, answer)
    print(expected.report.total, round(expected.memory[0].total), peak - base)


def _config(folder: Path, size: str, steps: int) -> Path:
    width, layers = size.split("x")
    path = folder / f"{size}.yaml"
    path.write_text(
        "name: size\n"
        f"model: {{family: tiny, path: random, options: {{width: {width}, language_layers: {layers}, "
        f"heads: {max(1, int(width) // 64)}}}, "
        "attention: sdpa, lora: {rank: 64, dropout: 0.0}}\n"
        f"data: {{batch_size: {BATCH}, workers: 0, pad_to_multiple_of: 128, train: {{shards: {folder}/train, build: "
        "{source: scenes, shards: 1, options: {count: 16}}}}\n"
        f"trainer: {{steps: {steps}, accelerator: cpu, devices: 1, threads: 1, checkpoint_every: 1000}}\n"
    )
    return path


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
