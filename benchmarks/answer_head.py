"""The answer-only head against full logits: same loss, less time and memory.

    python benchmarks/answer_head.py [--repeats 5]

Compares, on one batch of scenes and a LLaVA-shaped model with RANDOM weights and a vocabulary of 32,064 (LLaVA-1.5's),
forward and backward through (a) the head on answer positions only and (b) the head on every position, as
transformers' own classes compute their loss. Each runs in a process of its own, in turn; prints the medians, the
peak memory above the model's own, and the difference of the losses.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

VOCABULARY = 32064
BATCH, IMAGE_TOKENS, QUESTION, ANSWER = 4, 576, 24, 160


def measure(kind: str, repeats: int) -> dict[str, float]:
    """Loss, median seconds and peak memory of one kind, in this process."""
    import torch
    from torch.nn import functional
    from transformers import LlamaConfig, LlamaForCausalLM

    from text4seg.models.loss import answer_loss

    torch.manual_seed(0)
    torch.set_num_threads(2)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=2048,
    )
    model = LlamaForCausalLM(config)
    length = IMAGE_TOKENS + QUESTION + ANSWER
    ids = torch.randint(0, VOCABULARY, (BATCH, length))
    labels = torch.full_like(ids, -100)
    for row in range(BATCH):
        labels[row, -(ANSWER - 20 * row) :] = ids[row, -(ANSWER - 20 * row) :]

    def full() -> torch.Tensor:
        logits = model(input_ids=ids).logits[:, :-1].float()
        losses = functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none", ignore_index=-100)
        counts = (labels[:, 1:] != -100).sum(1)
        return (losses.sum(1) / counts).mean()

    def answers() -> torch.Tensor:
        return answer_loss(model.model(input_ids=ids).last_hidden_state, labels, model.lm_head, "sample")

    step = {"full": full, "answers": answers}[kind]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, loss = [], 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        value = step()
        value.backward()
        seconds.append(time.perf_counter() - start)
        model.zero_grad()
        loss = float(value)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"loss": loss, "seconds": statistics.median(seconds), "megabytes": peak / 1024}


def main() -> None:
    """Run both kinds and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kind", choices=["full", "answers"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kind:
        print(json.dumps(measure(given.kind, given.repeats)))
        return
    found = {}
    for kind in ("full", "answers"):
        command = [sys.executable, __file__, "--kind", kind, "--repeats", str(given.repeats)]
        found[kind] = json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        )
    full, answers = found["full"], found["answers"]
    print(
        f"batch {BATCH} x {IMAGE_TOKENS + QUESTION + ANSWER} tokens, answers of 100-160 tokens, {given.repeats} repeats"
    )
    print(f"loss          full {full['loss']:.7f}   answers only {answers['loss']:.7f}")
    print(
        f"time          full {full['seconds']:.2f} s   answers only {answers['seconds']:.2f} s   "
        f"x{full['seconds'] / answers['seconds']:.2f}"
    )
    print(
        f"memory above  full {full['megabytes']:.0f} MB   answers only {answers['megabytes']:.0f} MB   "
        f"x{full['megabytes'] / answers['megabytes']:.2f}"
    )


if __name__ == "__main__":
    main()
