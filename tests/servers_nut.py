"""A real NUT server for tests: `upsd` and two `dummy-ups` drivers, one of which plays a blackout.

Everything runs on a free loopback port under one folder and is stopped by its process id.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from servers import free_ports

READY_S = 20.0
# The upsd of sbin is a wrapper that asks the machine's own configuration first.
_PATH = os.pathsep.join(["/lib/nut", "/usr/lib/nut", os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

UNIT = {
    "device.model": "Smart 3000",
    "device.serial": "S-01",
    "ups.status": "OL",
    "ups.load": "40",
    "ups.realpower": "1200",
    "battery.charge": "100",
    "battery.runtime": "1800",
    "input.voltage": "230.1",
    "ups.mfr": "Foretwin and sons",
}


def missing_for_nut() -> list[str]:
    """The programs a NutServer needs and this machine lacks; `make servers` installs them."""
    return [name for name in ("upsd", "dummy-ups") if not shutil.which(name, path=_PATH)]


class NutServer:
    """upsd with the units `ups1` and `ups2`; `say` changes what a unit's driver reads."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_ports(1)[0]
        self._state = folder / "run"
        self._state.mkdir(parents=True)
        self._units: dict[str, dict[str, str]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        units = "".join(
            f"[{unit}]\n  driver = dummy-ups\n  port = {folder}/{unit}.dev\n  mode = dummy-loop\n"
            for unit in ("ups1", "ups2")
        )
        (folder / "ups.conf").write_text(f"pollinterval = 1\n{units}")
        (folder / "upsd.conf").write_text(f"LISTEN 127.0.0.1 {self.port}\nSTATEPATH {self._state}\nMAXAGE 15\n")
        (folder / "upsd.users").write_text("[admin]\n  password = x\n  actions = SET\n")
        (folder / "nut.conf").write_text("MODE=standalone\n")
        for file in folder.glob("ups*.*"):
            file.chmod(0o640)

    def start(self) -> NutServer:
        """Drivers and server, ready to answer."""
        try:
            for n, unit in enumerate(("ups1", "ups2")):
                self.say(unit, **{**UNIT, "device.serial": f"S-0{n + 1}"})
                self.start_driver(unit)
            self.start_upsd()
        except BaseException:
            self.stop()
            raise
        return self

    def say(self, unit: str, **variables: str) -> None:
        """Give variables of a unit new values; the driver reads its file again within seconds."""
        self._units.setdefault(unit, {}).update(variables)
        text = "".join(f"{name}: {value}\n" for name, value in self._units[unit].items())
        file = self.folder / f"{unit}.dev"
        new = file.with_suffix(".new")
        new.write_text(f"{text}TIMER 1\n")
        new.replace(file)

    def set(self, unit: str, variable: str, value: str, wait_s: float = 15.0) -> None:
        """Give a variable a new value and wait until upsd serves it."""
        self.say(unit, **{variable: value})
        until = time.monotonic() + wait_s
        while f'VAR {unit} {variable} "{value}"' not in self.ask(f"LIST VAR {unit}"):
            assert time.monotonic() < until, f"{variable} of {unit} did not become {value}"
            time.sleep(0.05)

    def start_driver(self, unit: str) -> None:
        """The driver of a unit up."""
        self._run(unit, "dummy-ups", "-a", unit, "-F")

    def start_upsd(self) -> None:
        """upsd up and serving both units."""
        self._run("upsd", "upsd", "-F")
        until = time.monotonic() + READY_S
        while not all(f"VAR {unit} ups.load" in self.ask(f"LIST VAR {unit}") for unit in ("ups1", "ups2")):
            assert self._processes["upsd"].poll() is None, f"upsd died at start; see {self.folder}"
            assert time.monotonic() < until, f"not ready in {READY_S} s; see {self.folder}"
            time.sleep(0.05)

    def ask(self, line: str) -> str:
        """What upsd answers to one line, empty when nobody answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as upsd:
                upsd.sendall(f"{line}\nLOGOUT\n".encode())
                answer = b""
                while part := upsd.recv(65_536):
                    answer += part
                return answer.decode()
        except OSError:
            return ""

    def signal(self, name: str, sign: signal.Signals) -> None:
        """A signal to `upsd`, or to the driver of a unit."""
        self._processes[name].send_signal(sign)

    def kill(self, name: str) -> None:
        """An accident of `upsd`, or of the driver of a unit."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        """All processes gone."""
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        self._processes.clear()

    def _run(self, key: str, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=_PATH)
        assert path is not None, f"{program} is not installed: run `make servers`"
        user = ("-u", "root") if os.geteuid() == 0 else ()
        folders = {"NUT_CONFPATH": self.folder, "NUT_STATEPATH": self._state, "NUT_ALTPIDPATH": self._state}
        environment = os.environ | {name: str(folder) for name, folder in folders.items()}
        with (self.folder / f"{key}.out").open("ab") as out:
            command = [path, *arguments, *user]
            self._processes[key] = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment
            )
