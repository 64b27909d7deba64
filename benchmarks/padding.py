"""How much of a batch is padding: batches in drawn order beside ones of similar lengths (`data.length_window`).

    python benchmarks/padding.py --config conf/folder.yaml [--windows 1 8 32] [--batches 100] data.val.build=null \\
        data.train.build.options.root=MYDATA [key=value ...]

Reads the training shards of a configuration (built when missing) as `fit` does, and holds no weights.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

from text4seg.config import load
from text4seg.data.datamodule import ShardDataModule
from text4seg.models.registry import load_processor


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_args()
    config = load(given.config, given.overrides)
    processor = load_processor(config.model)
    print(f"{'window':>7}{'samples':>9}{'tokens a sample':>17}{'padding':>9}")
    for window in given.windows:
        settings = replace(config.data, length_window=window, workers=0)
        data = ShardDataModule(settings, processor, config.seed)
        data.prepare_data()
        data.setup("fit")
        samples = real = padded = 0
        # Whole windows only: a part of one would be a part of its lengths.
        for batch in islice(data.train_dataloader(), given.batches - given.batches % window or window):
            samples += len(batch["labels"])
            real += int(batch["attention_mask"].sum())
            padded += batch["labels"].numel()
        print(f"{window:7}{samples:9,}{real / samples:17.0f}{1 - real / padded:9.1%}")


if __name__ == "__main__":
    main()
