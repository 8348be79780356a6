"""The settings of a running worker: `foretwin.toml`, under the environment, under what was typed.

`FORETWIN_SECTION__KEY` overrides a key of the file. The one secret, the store's token, comes from the environment only.
Every fault of every layer is said at once, with the layer it came from.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from plant.errors import ConfigError, Fault
from plant.files import load_toml
from plant.keys import Part, count, number, text
from plant.rewording import key_at, reword
from verbs.settings_sources import SourceTable, load_tables, taken_out

CONFIG = "foretwin.toml"
PREFIX = "FORETWIN_"
TOKEN_VARIABLE = "FORETWIN_STORE__TOKEN"


class SiteSection(Part):
    """Which site the worker looks after."""

    file: str = text("site file, or the name of a shipped one", "hall")


class StoreSection(Part):
    """Where the telemetry is."""

    kind: Literal["embedded", "influx"] = Field("embedded", description="embedded needs no server")
    url: str | None = text("address of the server: http://127.0.0.1:8086", None)
    database: str | None = text(
        "database of the server, or database/retention-policy", None, r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$"
    )
    auth: Literal["token", "bearer", "basic"] = Field(
        "token", description="how the token is shown: token suits all versions; basic takes user:password"
    )
    keep_days: float = number("d", 0.1, 100_000.0, "how long readings are kept in the embedded store", 30.0)
    keep_events_days: float = number("d", 0.1, 100_000.0, "how long events are kept there", 365.0)
    token: SecretStr = Field(SecretStr(""), description=f"only from the environment: {TOKEN_VARIABLE}")


class SourcesSection(Part):
    """What is read: of the store at the start, and of the sources, one table `[sources.NAME]` each."""

    history_h: float = number("h", 0.5, 168.0, "history read at the start: references need some hours", 3.0)
    tables: dict[str, SourceTable] = Field({}, description="the sources by name, read from their own tables")


class SchedulerSection(Part):
    """Who places jobs."""

    kind: Literal["simulated", "slurm"] = Field(
        "simulated",
        description="simulated: the reference one, in a file; slurm: jobs and nodes of Slurm, read only",
    )
    path: str = text("its file, in the folder of state unless absolute", "scheduler.sqlite")
    move_s: float = number("s", 0.0, 86_400.0, "how long one job's move takes", 14.0)
    conf: str | None = text("slurm: a slurm.conf other than the machine's own", None)
    look_s: float = number("s", 5.0, 600.0, "slurm: how often it is asked at most", 15.0)
    halls: tuple[str, ...] = Field((), description="slurm: halls whose nodes it runs; empty: all")
    classes: tuple[str, ...] = Field((), description="slurm: FIELD:REGEX=CLASS, before the shipped rules")
    profile_url: str | None = text("slurm: InfluxDB that its profile plugin writes into", None, r"^https?://[^/@]+/?$")
    profile_database: str = text("slurm: database of the plugin", "slurm", r"^[A-Za-z0-9._-]+$")

    @property
    def name(self) -> str:
        """What people call it."""
        return self.path if self.kind == "simulated" else self.kind


class PlantSection(Part):
    """Who acts on the building."""

    kind: Literal["work_order"] = Field("work_order", description="a person is asked and confirms")


class LoopSection(Part):
    """How often and how thoroughly the worker works."""

    tick_s: float = number("s", 5.0, 300.0, "time from tick to tick", 15.0)
    members: int = count(1, 100_000, "members that screen every plan", 32)
    finalists: int = count(1, 100_000, "members that the best plans and do_nothing get", 256)
    workers: int = count(1, 256, "workers that rehearse", 1)
    backend: Literal["loky", "threading", "ray"] = Field(
        "loky", description="loky: processes here; threading: threads here; ray: a cluster"
    )
    coming: bool = Field(
        True, description="rehearse with jobs that end and others that arrive, as the mix at hand says"
    )


class PolicySection(Part):
    """How plans are judged; each key has the meaning it has in `recovery.choose.Policy`."""

    max_p_worse: float = number("fraction", 0.0, 1.0, "largest share of members worse off than doing nothing", 0.10)
    tail_weight: float = number("ratio", 0.0, 100.0, "weight of the worst share beside the mean", 0.5)
    tail_frac: float = number("fraction", 0.001, 1.0, "the worst share", 0.05)
    indifference_min: float = number("min", 0.001, 10_000.0, "plans within this count as equal", 0.5)
    least_gain_min: float = number("min", 0.0, 100_000.0, "lost service a plan must save to be worth acting", 1.0)


class IdentitySection(Part):
    """Who decides in front of this worker's screen, and how far the site trusts the program."""

    name: str = Field("", description="name that goes into the ledger; empty: the screen is read-only")
    demo: bool = Field(False, description="the marked demo operator, who reaches an emulated site only")
    autonomy: Literal["observe", "propose", "act_reversible", "act"] = Field(
        "propose", description="observe: nothing is executed; propose: people approve every plan"
    )


class Settings(BaseSettings):
    """All settings, validated; frozen. Made by `load`, which words the faults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, allow_inf_nan=False
    )
    site: SiteSection = SiteSection()
    store: StoreSection = StoreSection()
    sources: SourcesSection = SourcesSection()
    scheduler: SchedulerSection = SchedulerSection()
    plant: PlantSection = PlantSection()
    loop: LoopSection = LoopSection()
    policy: PolicySection = PolicySection()
    identity: IdentitySection = IdentitySection()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Typed over environment over file; the file comes in under the key that `load` uses for it."""
        typed = dict(getattr(sources["init_settings"], "init_kwargs", {}))
        file = typed.pop("_from_file", {})
        first = InitSettingsSource(settings_cls, init_kwargs=typed)
        return first, _Environment(settings_cls), InitSettingsSource(settings_cls, init_kwargs=file)


class _Environment(EnvSettingsSource):
    """The environment, numbers read as numbers so that the strict rules of the file hold for it too."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        for section, keys in found.items():
            if isinstance(keys, dict) and section == "sources":
                # tables of sources have a reader of their own
                found[section] = {k: _value(section, k, said) for k, said in keys.items() if not isinstance(said, dict)}
            elif isinstance(keys, dict):
                found[section] = {key: _value(section, key, said) for key, said in keys.items()}
        return found


class _Raw(BaseModel):
    model_config = ConfigDict(extra="allow")


def load(path: str | Path = CONFIG, typed: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """Read the settings; `typed` holds {section: {key: value}} of the command line.

    Raises ConfigError with every fault. A missing file means the defaults if it has the usual name, else a fault.
    """
    given = {section: dict(keys) for section, keys in (typed or {}).items() if keys}
    raw = _file(Path(path))
    tables, faults = load_tables(taken_out(raw), Path(path).name)
    faults = _secrets(raw, Path(path).name) + _strangers() + faults
    if tables:
        given["sources"] = {**given.get("sources", {}), "tables": tables}
    try:
        # what pydantic-settings hands on, merged layer by layer
        settings = Settings(**given, _from_file=raw)
    except ValidationError as error:
        where = Path(path).name
        faults += [_placed(fault, given, where) for fault in reword(error, Settings, raw)]
        raise ConfigError(faults=faults) from None
    except SettingsError as error:
        cure = "set single keys: FORETWIN_SECTION__KEY"
        raise ConfigError("environment", " ".join(str(error).split()), "a table in JSON", cure) from None
    faults += _contradictions(settings, given, Path(path).name)
    if faults:
        raise ConfigError(faults=faults)
    return settings


def _file(path: Path) -> dict[str, Any]:
    """What the file says; nothing for one without any key, and for one that is not there under the usual name."""
    if path.name == CONFIG and not path.exists():
        return {}
    try:
        if not tomllib.loads(path.read_text(encoding="utf-8-sig")):
            return {}
    except (OSError, ValueError):
        pass  # load_toml says what is wrong, in the words of the house
    return dict(load_toml(path, _Raw, ConfigError).model_extra or {})


def _value(section: str, key: str, said: Any) -> Any:
    """A variable's text as the number it stands for where the key takes a number."""
    if key_at(Settings, (section, key)).extra.get("low") is None or not isinstance(said, str):
        return said
    try:
        return tomllib.loads(f"x = {said}")["x"]
    except ValueError:
        return said


def _secrets(raw: dict[str, Any], name: str) -> list[Fault]:
    """Take a token out of the file's values, so that nothing can print it, and refuse it."""
    store = raw.get("store")
    if not isinstance(store, dict) or "token" not in store:
        return []
    raw["store"] = {key: value for key, value in store.items() if key != "token"}
    cure = f"remove it, set {TOKEN_VARIABLE}, and make a new token: this one has lain in a file"
    return [Fault(f"{name}: store.token", "a secret in the settings file", "secrets come from the environment", cure)]


def _strangers() -> list[Fault]:
    """Variables that name a section which does not exist."""
    faults = []
    for name in sorted(os.environ):
        section, nested, _ = name.removeprefix(PREFIX).partition("__")
        if name.startswith(PREFIX) and nested and section.lower() not in Settings.model_fields:
            near = difflib.get_close_matches(section.lower(), Settings.model_fields, n=1)
            cure = f"did you mean {PREFIX}{near[0].upper()}__...?" if near else "unset it"
            faults.append(Fault(name, "unknown section", f"one of {' '.join(Settings.model_fields)}", cure))
    return faults


def _placed(fault: Fault, given: Mapping[str, Mapping[str, Any]], name: str) -> Fault:
    """The fault with the layer its value came from in front."""
    section, _, key = fault.where.partition(".")
    variable = f"{PREFIX}{section.upper()}{f'__{key.upper()}' if key else ''}"
    if key in given.get(section, {}):
        return Fault(f"--{key if section != 'site' else 'site'}", fault.found, fault.allowed, fault.cure)
    if variable in os.environ:
        return Fault(variable, fault.found, fault.allowed, fault.cure)
    return Fault(f"{name}: {fault.where}", fault.found, fault.allowed, fault.cure)


def _contradictions(settings: Settings, given: Mapping[str, Mapping[str, Any]], name: str) -> list[Fault]:
    """What each key allows and all together do not."""
    store, faults = settings.store, []
    if store.kind == "influx":
        faults += [Fault(f"store.{key}", "missing", "needed for kind influx", f"add {key}") for key in _absent(store)]
        address = urlsplit(store.url or "http://h")
        if address.scheme not in ("http", "https") or not address.hostname or address.path.strip("/"):
            faults.append(Fault("store.url", "is no address of a server", "http(s)://HOST:PORT", "leave the path away"))
        if address.username or address.password or address.query:
            cure = f"put the token into {TOKEN_VARIABLE}"
            faults.append(Fault("store.url", "an address with a secret in it", "http(s)://HOST:PORT", cure))
    elif store.url or store.database:
        faults.append(Fault("store.kind", "is embedded, but a server is named", "kind influx", "write kind = 'influx'"))
    return [_placed(fault, given, name) for fault in faults]


def _absent(store: StoreSection) -> list[str]:
    return [key for key in ("url", "database") if not getattr(store, key)]
