"""UPS units through Network UPS Tools: `upsd` asked over its plain-text protocol, told in Telegraf's words.

Measurement `upsd` and its fields are those of Telegraf's inputs.upsd, so that one set of rules serves both ways;
further numbers keep NUT's name with `_` for `.`. Protocol: RFC 9271.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

from plant.errors import SourceUnavailable
from twin.telemetry.samples import BadRow, Gathered, Read, Series
from twin.telemetry.sources import Mark

PORT = 3493
LONGEST_ANSWER = 1_000_000

TELEGRAF_NAMES = {
    "battery.charge": "battery_charge_percent",
    "battery.charge.low": "battery_charge_low",
    "battery.runtime.low": "battery_runtime_low",
    "battery.voltage": "battery_voltage",
    "battery.voltage.nominal": "nominal_battery_voltage",
    "input.frequency": "input_frequency",
    "input.voltage": "input_voltage",
    "input.voltage.nominal": "nominal_input_voltage",
    "output.voltage": "output_voltage",
    "ups.load": "load_percent",
    "ups.realpower": "real_power",
    "ups.realpower.nominal": "nominal_power",
    "ups.temperature": "internal_temp",
}
# Telegraf gives the runtime in nanoseconds, NUT in seconds.
RUNTIME, RUNTIME_NS = "battery.runtime", "time_left_ns"
FLAG_BITS = {"CAL": 0, "TRIM": 1, "BOOST": 2, "OL": 3, "OB": 4, "OVER": 5, "LB": 6, "RB": 7}
MEASURED = ("ambient.", "battery.", "input.", "outlet.", "output.", "ups.")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
_VARIABLE = re.compile(r'VAR (\S+) (\S+) "((?:[^"\\]|\\.)*)"')
_UNIT = re.compile(r"UPS (\S+)( .*)?")


class NutSource:
    """Every UPS of one upsd, or those named; a connection for each poll, so that a half-open one cannot stay."""

    kind = "nut"

    def __init__(self, name: str, host: str, port: int = PORT, units: tuple[str, ...] = (), timeout_s: float = 5.0):
        self.name, self._host, self._port, self._units, self._timeout_s = name, host, port, units, timeout_s
        self._where = f"{host}:{port}"

    def poll(self, now_ms: int) -> Read:
        try:
            with _Connection(self._host, self._port, self._timeout_s) as upsd:
                return self._gathered(upsd, now_ms)
        except OSError as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
            cure = "start upsd, or correct its address and LISTEN line"
            raise SourceUnavailable(self._where, f"upsd does not answer: {reason}", cure=cure) from error

    def _gathered(self, upsd: _Connection, now_ms: int) -> Read:
        gathered = Gathered()
        units = self._units or tuple(match[1] for line in upsd.listed("UPS") if (match := _UNIT.fullmatch(line)))
        for unit in units:
            try:
                variables = dict(_variables(upsd.listed(f"VAR {unit}"), gathered, unit))
            except _Refused as refusal:
                gathered.bad.append(BadRow(unit, f"upsd says {refusal}"))
                continue
            if variables.get("ups.status", "WAIT") == "WAIT":
                gathered.bad.append(BadRow(unit, "its driver is still starting"))
                continue
            self._take(gathered, unit, variables, now_ms)
        if not len(gathered):
            found = str(gathered.bad[0]) if gathered.bad else "upsd knows no UPS"
            raise SourceUnavailable(self._where, found, "a UPS whose driver runs", "look at ups.conf and its driver")
        return gathered.read()

    def _take(self, gathered: Gathered, unit: str, variables: dict[str, str], now_ms: int) -> None:
        tags = {
            "ups_name": unit,
            "source": self._where,
            "serial": variables.get("device.serial", variables.get("ups.serial", "")),
            "model": variables.get("device.model", variables.get("ups.model", "")),
        }
        told = {key: value for key, value in tags.items() if value}
        for field, value in _fields(variables):
            gathered.add(gathered.slot(Series.of("upsd", field, told)), now_ms, value)

    def mark(self) -> Mark:
        return {}

    def resume(self, mark: Mark) -> None:
        pass

    def close(self) -> None:
        pass


def _fields(variables: dict[str, str]) -> Iterator[tuple[str, float | str]]:
    """Field and value of each variable that is a measured number, and the status as flags and as words."""
    for variable, said in variables.items():
        if variable == "ups.status":
            yield "ups_status", said
            yield "status_flags", float(sum(1 << FLAG_BITS[word] for word in set(said.split()) & set(FLAG_BITS)))
        elif not variable.startswith(MEASURED) or not _NUMBER.fullmatch(said):
            continue
        elif variable == RUNTIME:
            yield RUNTIME_NS, float(said) * 1e9
        else:
            yield TELEGRAF_NAMES.get(variable, variable.replace(".", "_")), float(said)


def _variables(lines: list[str], gathered: Gathered, unit: str) -> Iterator[tuple[str, str]]:
    for line in lines:
        match = _VARIABLE.fullmatch(line)
        if match is None or match[1] != unit:
            gathered.bad.append(BadRow(unit, "is no variable", line))
        else:
            yield match[2], re.sub(r"\\(.)", r"\1", match[3])


class _Refused(Exception):
    """The ERR line of upsd."""


class _Connection:
    """Lines to and from upsd until a moment is reached that no drip of bytes can move."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._until_s = time.monotonic() + timeout_s
        self._socket = socket.create_connection((host, port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def listed(self, what: str) -> list[str]:
        """The lines between BEGIN LIST and END LIST. Raises _Refused for an ERR, OSError for anything else."""
        self._socket.sendall(f"LIST {what}\n".encode())
        first = self._line()
        if first.startswith("ERR "):
            raise _Refused(first)
        if first != f"BEGIN LIST {what}":
            raise OSError(f"this is no upsd: it said {ascii(first)[:60]}")
        lines = []
        while (line := self._line()) != f"END LIST {what}":
            lines.append(line)
        return lines

    def _line(self) -> str:
        while b"\n" not in self._rest:
            left_s = self._until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._socket.settimeout(left_s)
            part = self._socket.recv(65_536)
            if not part:
                raise OSError("it closed the connection in the middle of an answer")
            self._rest += part
            if len(self._rest) > LONGEST_ANSWER:
                raise OSError("its answer has no end")
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode("utf-8", "replace").rstrip("\r")
