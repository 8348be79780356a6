"""Who sits in front of the screen: a configured person, the marked demo operator, or nobody (then it is read-only)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

DEMO_OPERATOR = "demo operator"
CONFIG = "foretwin.toml"
HOW = "set [identity] name in foretwin.toml, or FORETWIN_IDENTITY__NAME"


@dataclass(frozen=True)
class Identity:
    """The name that goes into the ledger; `demo` may decide on an emulated site only."""

    name: str
    demo: bool = False


class _Section(BaseModel):
    name: str = ""
    demo: bool = False


class _Settings(BaseSettings):
    """The part of the settings the screen needs; environment over file."""

    model_config = SettingsConfigDict(
        env_prefix="FORETWIN_", env_nested_delimiter="__", toml_file=CONFIG, extra="ignore", frozen=True
    )
    identity: _Section = _Section()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return sources["env_settings"], TomlConfigSettingsSource(settings_cls, Path(CONFIG))


def who() -> Identity | None:
    """Read the identity from environment and file; settings that cannot be read name nobody."""
    try:
        found = _Settings().identity
    except (ValidationError, ValueError, OSError):
        return None
    if found.demo:
        return Identity(DEMO_OPERATOR, demo=True)
    name = " ".join(found.name.split())
    return Identity(name) if name else None
