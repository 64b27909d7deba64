"""Run a command, then print how long it took and how much memory its largest process held.

Run: python .ci/measure.py NAME COMMAND [ARGUMENT...]
The exit code is the command's own. Only the standard library is used, so that an installation can be measured too.
"""

import resource
import subprocess
import sys
import time


def main(name: str, command: list[str]) -> int:
    """Run ``command`` and report under ``name``; returns its exit code."""
    start = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    wall = round(time.monotonic() - start)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Linux counts kilobytes, macOS bytes.
    gigabytes = peak * (1 if sys.platform == "darwin" else 1024) / 1e9
    outcome = "done" if code == 0 else f"FAILED (exit code {code})"
    print(f"[{name}] {outcome}: {wall // 60} min {wall % 60:02d} s, peak memory {gigabytes:.2f} GB (largest process)")
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"Usage: python {sys.argv[0]} NAME COMMAND [ARGUMENT...]")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
