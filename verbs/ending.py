"""How a verb that has started other processes ends when it is asked to: everything that it opened is closed."""

from __future__ import annotations

import signal
import threading


def stop_cleanly() -> None:
    """Let a request to end, also one by signal (SIGINT, SIGTERM), be a KeyboardInterrupt, which closes what is open."""

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave)
        signal.signal(signal.SIGINT, leave)
