"""Keys of our TOML files as pydantic fields whose metadata carry unit, bounds and meaning; the base of their models.

The metadata feed the checks, the error messages and `foretwin site explain`, so that none of them can drift.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from plant.ranges import expand


class Part(BaseModel):
    """Base of all parts of a file: immutable, unknown keys refused, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ID = r"^[A-Za-z0-9._-]+$"
PATH = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+$"


def _range(pattern: str) -> str:
    expand(pattern)
    return pattern


NameRange = Annotated[str, AfterValidator(_range)]
"""Names that share a pattern, such as 'r[01-96]'."""


def number(unit: str, low: float, high: float, meaning: str, default: Any = ...) -> Any:
    """A pydantic field for a finite number in `unit` between `low` and `high`, both allowed; no silent coercion."""
    extra: dict[str, Any] = {"unit": unit, "low": low, "high": high}
    return Field(
        default=default, ge=low, le=high, strict=True, allow_inf_nan=False, description=meaning, json_schema_extra=extra
    )


def count(low: int, high: int, meaning: str, default: Any = ...) -> Any:
    """A pydantic field for a whole number between `low` and `high`, both allowed."""
    extra: dict[str, Any] = {"unit": "count", "low": low, "high": high}
    return Field(default=default, ge=low, le=high, strict=True, description=meaning, json_schema_extra=extra)


def text(meaning: str, default: Any = ..., pattern: str | None = None) -> Any:
    """A pydantic field for a name or a sentence."""
    extra: dict[str, Any] = {"unit": "text"}
    return Field(default=default, min_length=1, pattern=pattern, description=meaning, json_schema_extra=extra)
