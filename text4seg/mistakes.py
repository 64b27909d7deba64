"""What a door answers when something is wrong: one line for what a user can put right, never a traceback for it."""

from __future__ import annotations

import sys
from collections.abc import Callable

FROM_A_WORKER = "DataLoader worker process"
"""PyTorch packs an error of a loading process together with its traceback."""


def guarded(work: Callable[[], int]) -> int:
    """Run a door's work.

    Returns:
        its exit code; 2 after a mistake in what was asked for, which is printed; 130 after Ctrl-C.
    """
    try:
        return work()
    except (ValueError, OSError) as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def reason(error: Exception) -> str:
    """An error's own words."""
    text = str(error) or type(error).__name__
    if FROM_A_WORKER not in text.split("\n", 1)[0]:
        return text
    return text.strip().rpartition(f"\n{type(error).__name__}: ")[2]
