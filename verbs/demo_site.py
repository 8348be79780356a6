"""The emulated site as a process of its own: `python -m verbs.demo_site HOME` runs it until its client says stop.

It writes telemetry into HOME/telemetry.sqlite and answers the ports on a local socket; HOME/emulator.json (readable
by its owner alone) says where, with which key.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from plant.errors import StoreUnavailable
from plant.incident import load_incident
from plant.site import load_site
from twin.emulator import Emulator
from twin.telemetry.sqlite_store import SqliteStore
from verbs.replay_run import Case

ADDRESS_FILE = "emulator.json"
NICE = 5  # the site works ahead of the worker and must not push it off its core


@dataclass(frozen=True)
class Stage:
    """What the emulator process is told: site, incident, seed, quiet or not."""

    site: str
    incident: str
    seed: int
    quiet: bool = False

    def case(self) -> Case:
        """Load site and incident."""
        site = load_site(self.site)
        return Case(site, load_incident(self.incident, site), self.seed, self.quiet)


def serve(home: Path, stage: Stage) -> None:
    """Run the emulated site until a client says stop; one client at a time, a new one may come after a kill."""
    os.nice(NICE)
    case = stage.case()
    store = SqliteStore(home / "telemetry.sqlite")
    emulator = Emulator(case.site, case.scenario(), store, case.drivers())
    key = secrets.token_bytes(32)
    # a Unix socket: over TCP a large answer waits 40 ms for an acknowledgement
    with Listener(family="AF_UNIX", authkey=key) as listener:
        write_address(home, str(listener.address), key)
        while _serve_client(listener, emulator):
            pass
    store.close()


def _serve_client(listener: Listener, emulator: Emulator) -> bool:
    """Serve one client; False when it said stop."""
    try:
        with listener.accept() as client:
            while True:
                verb, args = json.loads(client.recv_bytes())
                if verb == "stop":
                    client.send_bytes(b"null")
                    return False
                client.send_bytes(_answer(emulator, verb, args))
    except (EOFError, OSError):
        return True


def _answer(emulator: Emulator, verb: str, args: dict[str, Any]) -> bytes:
    try:
        return json.dumps({"ok": emulator.request(verb, args)}).encode()
    except (KeyError, ValueError, TypeError) as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()


def write_address(home: Path, address: str, key: bytes) -> None:
    """Say where the site listens; the key is for this user alone."""
    part = home / f".{ADDRESS_FILE}.part"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"address": address, "key": key.hex(), "pid": os.getpid()}, file)
    part.replace(home / ADDRESS_FILE)


class SiteLink:
    """The way to the emulated site's ports from another process."""

    def __init__(self, home: Path) -> None:
        """Connect; raises StoreUnavailable when no emulated site listens."""
        try:
            said = json.loads((home / ADDRESS_FILE).read_text())
            self._wire: Connection = Client(said["address"], "AF_UNIX", bytes.fromhex(said["key"]))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise StoreUnavailable(
                str(home / ADDRESS_FILE), f"no emulated site ({type(error).__name__})", "a running one", "foretwin demo"
            ) from error
        self._ahead: list[Any] = []
        self._asked = False

    def __call__(self, verb: str, args: dict[str, Any]) -> Any:
        """Ask and wait for the answer; raises StoreUnavailable when the site is gone."""
        if self._asked:  # a question asked ahead is answered first and its answer kept
            self._ahead.append(self._receive())
            self._asked = False
        self._send(verb, args)
        return self._receive()

    def ask(self, verb: str, args: dict[str, Any]) -> None:
        """Ask without waiting; `answer` gives what came back."""
        self._send(verb, args)
        self._asked = True

    def answer(self) -> Any:
        """Wait for the answer to the question asked ahead."""
        if self._ahead:
            return self._ahead.pop()
        self._asked = False
        return self._receive()

    def _send(self, verb: str, args: dict[str, Any]) -> None:
        try:
            self._wire.send_bytes(json.dumps([verb, args]).encode())
        except OSError as error:
            raise _gone() from error

    def _receive(self) -> Any:
        try:
            answer = json.loads(self._wire.recv_bytes())
        except (EOFError, OSError) as error:
            raise _gone() from error
        if answer is not None and "error" in answer:
            raise ValueError(answer["error"])
        return None if answer is None else answer["ok"]

    def close(self) -> None:
        """Hang up; the site goes on."""
        self._wire.close()


def _gone() -> StoreUnavailable:
    return StoreUnavailable("emulated site", "the connection broke", "a running emulator", "start the demo again")


if __name__ == "__main__":
    told = json.loads((Path(sys.argv[1]) / "stage.json").read_text())
    serve(Path(sys.argv[1]), Stage(**told))
