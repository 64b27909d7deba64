"""Ranks watch one another: when one dies, the others say why and stop, where they would wait for it without end.

Each rank has a file in which a thread counts up; an error is written there by the rank that has it. A rank whose
process is gone, or whose count has stood still for too long, is dead. Files, because what the ranks talk through is
just what hangs when one of them is missing; the run folder is shared by all nodes anyway.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

LOOK = 1.0
"""Seconds between two looks."""
STILL = 40.0
"""Seconds without a sign of life after which a rank counts as dead."""
GRACE = 3.0
"""Seconds in which a rank may end by itself after another's error: often it has the same one."""


@dataclass(frozen=True)
class Sign:
    """What a rank says about itself: `state` is running, done, or the reason of its end."""

    launch: str
    host: str
    pid: int
    count: int = 0
    state: str = "running"


class Watch(Callback):
    """Stops this process when another rank has ended too early.

    Args:
        folder: of the ranks' files, usually RUN/logs/ranks.
        advice: said behind the reason, e.g. how to go on.
    """

    def __init__(self, folder: Path, advice: str) -> None:
        self.folder, self.advice = folder, advice
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._seen: dict[int, tuple[int, float]] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin to show signs of life and to look for the others'."""
        if trainer.world_size < 2:
            return
        # Every launch has a name of its own: files of an earlier one say nothing.
        launch = trainer.strategy.broadcast(f"{socket.gethostname()}-{os.getpid()}-{time.time()}")
        self.rank, self.world = trainer.global_rank, trainer.world_size
        self.folder.mkdir(parents=True, exist_ok=True)
        self._show(Sign(launch, socket.gethostname(), os.getpid()))
        trainer.strategy.barrier()
        for thread in threading.enumerate():  # Lightning's own watch kills all ranks without a word
            if thread.name == "child-process-observer":
                thread._finished = True  # type: ignore[attr-defined]
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say that this rank is done."""
        self._end("done")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say why this rank ends; what it lost the others by is not its own reason."""
        if isinstance(exception, RuntimeError) and hasattr(self, "sign"):
            deadline = time.monotonic() + GRACE + 2 * LOOK
            while time.monotonic() < deadline:  # a lost connection: the other's reason is on its way
                if found := self._ended():
                    self._tell(found)
                    os._exit(1)
                time.sleep(LOOK / 4)
        self._end("done" if type(exception).__name__ == "StoppedError" else f"{type(exception).__name__}: {exception}")

    def _end(self, state: str) -> None:
        with self._lock:
            if hasattr(self, "sign") and not self._over.is_set():
                self._over.set()
                self._show(replace(self.sign, state=state))

    def _show(self, sign: Sign) -> None:
        self.sign = sign
        path = self.folder / f"{self.rank}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(sign)), encoding="utf-8")
        partial.replace(path)

    def _run(self) -> None:
        while not self._over.wait(LOOK):
            try:
                with self._lock:  # the main thread writes this rank's last word to the same place
                    if self._over.is_set():
                        return
                    self._show(replace(self.sign, count=self.sign.count + 1))
                found = self._ended()
            except OSError:  # a full disk is the training's to report
                continue
            if found and not self._over.is_set():
                self._tell(found)
                if not self._over.wait(GRACE):
                    os._exit(1)  # the main thread may hang where no exception reaches it

    def _ended(self) -> str | None:
        """What became of the first rank that ended too early."""
        for rank in range(self.world):
            sign = self._read(rank)
            if rank == self.rank or sign is None or sign.state == "done":
                continue
            if sign.state != "running":
                return f"rank {rank} on {sign.host} failed: {sign.state}"
            if sign.host == self.sign.host and not _alive(sign.pid):
                return f"rank {rank} on {sign.host} is gone (process {sign.pid}): killed, perhaps for its memory"
            count, since = self._seen.get(rank, (-1, 0.0))
            if count != sign.count:
                self._seen[rank] = sign.count, time.monotonic()
            elif time.monotonic() - since > STILL:
                return f"rank {rank} on {sign.host} has shown no sign of life for {STILL:g} s"
        return None

    def _read(self, rank: int) -> Sign | None:
        try:
            sign = Sign(**json.loads((self.folder / f"{rank}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None
        return sign if sign.launch == self.sign.launch else None

    def _tell(self, reason: str) -> None:
        sys.stdout.flush()
        os.write(2, f"\nerror: rank {self.rank} stops: {reason}. {self.advice}\n".encode())


def _alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that has ended and is not collected yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:  # no /proc here
        return True
