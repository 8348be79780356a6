"""One worker at a time in a folder of state: a lock that the system takes back when its holder dies, by any death."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from plant.errors import ConfigError


class WorkerLock:
    """HOME/worker.lock, held by one process; its content says which. Processes it forks do not hold it."""

    def __init__(self, home: Path) -> None:
        """Take the lock; raises ConfigError when another process holds it."""
        self.path = home / "worker.lock"
        home.mkdir(parents=True, exist_ok=True)
        self._handle: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # a record lock, not flock: a rehearsal process that outlives a killed worker must not keep the lock
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._handle, 200).decode(errors="replace").strip()
            os.close(self._handle)
            found = f"another worker runs here ({holder or 'it has not said who'})"
            cure = "stop that one, or choose another FORETWIN_HOME"
            raise ConfigError(str(self.path), found, "one worker at a time", cure) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"pid {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; the file stays, empty, for the next one."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go."""
        self.release()
