"""The sources of `foretwin.toml`: one table `[sources.NAME]` each, under `FORETWIN_SOURCES__NAME__KEY`.

Which keys a kind of source needs and takes stands in one table here. A token comes from the environment, or from a
file of mode 0600 named in `token_file`.
"""

from __future__ import annotations

import itertools
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError

from plant.errors import Fault
from plant.keys import Part, number, text
from plant.ranges import expand
from plant.rewording import key_at, reword

PREFIX = "FORETWIN_SOURCES__"
NAME_RULE = "a-z 0-9 _, beginning with a letter"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_DATABASE = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?")
_RANGE = re.compile(r"(\[[0-9,-]+\])")
MOST_URLS = 10_000
Kind = Literal["influx", "prometheus", "nut", "lines", "csv", "parquet", "slurm_profile"]

NEEDS = {
    "influx": ("url", "database"),
    "prometheus": ("url",),
    "nut": ("url",),
    "lines": ("path",),
    "csv": ("path",),
    "parquet": ("path",),
    "slurm_profile": ("url", "database"),
}
TAKES = {
    "influx": ("only", "late_s", "auth", "token_file", "timeout_s"),
    "prometheus": ("only", "token_file", "timeout_s", "ca_file"),
    "nut": ("units", "timeout_s"),
    "lines": ("pattern", "precision"),
    "csv": ("pattern",),
    "parquet": ("pattern",),
    "slurm_profile": ("conf", "every_s", "token_file", "timeout_s"),
}
ALL_TAKE = ("kind", "interval_s", "mapping", "token")


class SourceTable(Part):
    """One source of telemetry."""

    kind: Kind = Field(description="what is asked: a server, or files")
    url: str | None = text("address: http(s)://HOST:PORT, for prometheus with its path, for nut HOST:PORT", None)
    database: str | None = text("influx: database, or database/retention-policy, or bucket as the server maps it", None)
    auth: Literal["token", "bearer", "basic"] = Field(
        "token", description="influx: how the token is shown: token suits all versions; basic takes user:password"
    )
    path: str | None = text("file, or folder whose files fit `pattern`", None)
    pattern: str | None = text("shell pattern of file names in the folder; absent: by kind", None)
    mapping: str | None = text("mapping file, or name of a shipped one; absent: the shipped one for the kind", None)
    interval_s: float = number("s", 1.0, 3600.0, "time from one question to the next", 15.0)
    timeout_s: float = number("s", 0.5, 300.0, "longest wait for an answer", 10.0)
    late_s: float = number("s", 0.0, 3600.0, "influx: what arrives later than this behind its time is not read", 60.0)
    only: tuple[str, ...] = Field((), description="shell patterns of measurements or metrics to read; empty: all")
    units: tuple[str, ...] = Field((), description="nut: names of UPS units; empty: all")
    precision: Literal["ns", "us", "ms", "s"] = Field("ns", description="lines: unit of the times")
    ca_file: str | None = text("certificate of the authority that signed the server's", None)
    conf: str | None = text("slurm_profile: a slurm.conf other than the machine's own", None)
    every_s: float | None = number("s", 1.0, 3600.0, "slurm_profile: interval of samples; absent: as Slurm says", None)
    token_file: str | None = text("file of mode 0600 with the token", None)
    token: SecretStr = Field(SecretStr(""), description="only from the environment: FORETWIN_SOURCES__NAME__TOKEN")

    def urls(self) -> list[str]:
        """The address, or all it stands for: `http://n[001-100]:9100/metrics`. ValueError for a faulty range."""
        parts = [expand(part) if _RANGE.fullmatch(part) else (part,) for part in _RANGE.split(self.url or "")]
        found = list(itertools.islice(map("".join, itertools.product(*parts)), MOST_URLS + 1))
        if len(found) > MOST_URLS:
            raise ValueError(f"'{self.url}' stands for more than {MOST_URLS} addresses")
        return found

    def secret(self) -> str:
        """The token, from the environment or its file."""
        if self.token_file is not None and not self.token.get_secret_value():
            return Path(self.token_file).read_text(encoding="utf-8").strip()
        return self.token.get_secret_value()

    def server(self) -> tuple[str, int | None]:
        """Host and port of a nut source's url. ValueError for a port that is none."""
        address = urlsplit(self.url if "//" in (self.url or "") else f"nut://{self.url}")
        return address.hostname or "", address.port


def taken_out(raw: dict[str, Any]) -> dict[str, Any]:
    """The source tables of a file's raw content, which loses them."""
    section = raw.get("sources")
    if not isinstance(section, dict):
        return {}
    tables = {name: keys for name, keys in section.items() if isinstance(keys, dict)}
    raw["sources"] = {key: value for key, value in section.items() if key not in tables}
    return tables


def load_tables(file: Mapping[str, Any], where: str) -> tuple[dict[str, SourceTable], list[Fault]]:
    """Every source, the environment over the file, and all that is wrong; `where` names the file."""
    environment = _environment()
    found, faults = {}, []
    for name in sorted({*file, *environment}):
        said = file.get(name, {})
        place = f"{where}: sources.{name}"
        if not _NAME.fullmatch(name):
            faults.append(Fault(place, "is no name of a source", NAME_RULE, "rename it"))
            continue
        if name not in file and "kind" not in environment[name]:
            set_ = ", ".join(f"{PREFIX}{name.upper()}__{key.upper()}" for key in environment[name])
            cure = f"add [sources.{name}] with its kind, or unset the variable"
            faults.append(Fault("environment", f"{set_} speaks of no source of {where}", " ".join(file), cure))
            continue
        if "token" in said:
            cure = f"remove it, set {PREFIX}{name.upper()}__TOKEN, and make a new token: this one has lain in a file"
            faults.append(Fault(f"{place}.token", "a secret in the settings file", "the environment", cure))
        values = {key: value for key, value in said.items() if key != "token"} | environment.get(name, {})
        try:
            found[name] = SourceTable.model_validate(values)
        except ValidationError as error:
            faults += [_placed(f, name, place, environment) for f in reword(error, SourceTable, values)]
            continue
        faults += [_placed(f, name, place, environment) for f in _contradictions(found[name])]
    return found, faults


def _environment() -> dict[str, dict[str, Any]]:
    """Keys by source that the environment gives; numbers and lists as TOML writes them."""
    found: dict[str, dict[str, Any]] = {}
    for variable in sorted(os.environ):
        name, nested, key = variable.removeprefix(PREFIX).lower().partition("__")
        if variable.startswith(PREFIX) and nested:
            found.setdefault(name, {})[key] = _value(key, os.environ[variable])
    return found


def _value(key: str, said: str) -> Any:
    wants_number = key_at(SourceTable, (key,)).extra.get("low") is not None
    if not wants_number and key not in ("only", "units"):
        return said
    try:
        return tomllib.loads(f"x = {said}")["x"]
    except ValueError:
        return said


def _placed(fault: Fault, name: str, place: str, environment: Mapping[str, Mapping[str, Any]]) -> Fault:
    """The fault with the layer its value came from in front."""
    key = fault.where.partition("[")[0]
    variable = f"{PREFIX}{name.upper()}__{key.upper()}"
    where = variable if key in environment.get(name, {}) else f"{place}.{fault.where}" if fault.where else place
    return Fault(where, fault.found, fault.allowed, fault.cure)


def _contradictions(table: SourceTable) -> list[Fault]:
    """What each key allows and all together do not."""
    kind = table.kind
    faults = [
        Fault(key, "missing", f"needed for kind {kind}", f"add {key}") for key in NEEDS[kind] if not getattr(table, key)
    ]
    takes = (*NEEDS[kind], *TAKES[kind], *ALL_TAKE)
    for key in sorted(table.model_fields_set - set(takes)):
        faults.append(Fault(key, f"is no key of kind {kind}", f"allowed are {' '.join(takes)}", "remove it"))
    if table.database is not None and not _DATABASE.fullmatch(table.database):
        faults.append(Fault("database", ascii(table.database)[:80], "letters, digits, . _ - and one /", "rename it"))
    if table.url is not None and not faults:
        faults += _url_faults(table)
    if table.ca_file is not None and not Path(table.ca_file).is_file():
        faults.append(Fault("ca_file", f"{table.ca_file} is no file", "a certificate in PEM form", "correct the path"))
    if table.token_file is not None and not table.token.get_secret_value():
        faults += _file_faults(table.token_file)
    return faults


def _url_faults(table: SourceTable) -> list[Fault]:
    try:
        urls = table.urls()
        address = urlsplit(urls[0] if "//" in urls[0] else f"nut://{urls[0]}")
        port_ok = address.port is None or address.port > 0
    except ValueError as error:
        return [Fault("url", str(error), "an address such as http://HOST:PORT", "correct it")]
    if address.username or address.password or (address.query and table.kind != "prometheus"):
        return [Fault("url", "an address with a secret in it", "http(s)://HOST:PORT", "set the token instead")]
    schemes = ("nut",) if table.kind == "nut" else ("http", "https")
    path_ok = table.kind == "prometheus" or not address.path.strip("/")
    one = len(urls) == 1 or table.kind == "prometheus"
    if address.scheme in schemes and address.hostname and path_ok and port_ok and one:
        return []
    shape = {"nut": "HOST:PORT", "influx": "http(s)://HOST:PORT"}.get(table.kind, "http(s)://HOST:PORT/metrics")
    return [Fault("url", f"'{table.url}' is no address of a server", shape, "correct it")]


def _file_faults(path: str) -> list[Fault]:
    """A token's file that is not there, or that others may read."""
    try:
        mode = Path(path).stat().st_mode & 0o777
        Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return [Fault("token_file", f"cannot be read: {error}", "a file with the token", "correct the path")]
    if mode & 0o077:
        return [Fault("token_file", f"{path} has mode {mode:04o}", "0600", f"chmod 600 {path}, and make a new token")]
    return []
