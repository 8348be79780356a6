"""Which telemetry store a `--store` option means: `embedded`, or the address of an InfluxDB."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from plant.errors import ConfigError
from plant.site import Site
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import Store

TOKEN_VARIABLE = "FORETWIN_STORE__TOKEN"
AUTH_VARIABLE = "FORETWIN_STORE__AUTH"
SCHEMES: dict[str, Literal["Token", "Bearer", "Basic"]] = {"token": "Token", "bearer": "Bearer", "basic": "Basic"}
ALLOWED = "embedded, or http(s)://HOST:PORT/DATABASE"


def open_store(
    text: str, home: Path, site: Site | None = None, *, must_exist: bool = False, auth: str | None = None
) -> Store:
    """Open the store that an option names, its token from the environment; raises ConfigError or StoreUnavailable.

    auth: how the token is shown, a key of SCHEMES; None takes the environment's, else `token`.
    """
    if text == "embedded":
        path = home / "telemetry.sqlite"
        if must_exist and not path.is_file():
            raise ConfigError(str(path), "no telemetry there", ALLOWED, "bring readings in: foretwin ingest FILE")
        return SqliteStore(path)
    address = urlsplit(text)
    database = address.path.strip("/")
    if address.scheme not in ("http", "https") or not address.hostname or not database:
        raise ConfigError("--store", f"'{text}'", ALLOWED, "for example http://127.0.0.1:8086/telemetry")
    if address.username or address.password or address.query:
        raise ConfigError("--store", "an address with a secret in it", ALLOWED, f"put the token into {TOKEN_VARIABLE}")
    if site is None:
        raise ConfigError("--site", "missing", "the site whose components are stored", "add --site FILE")
    from twin.telemetry.influx_store import InfluxStore

    kinds = {component: kind for kind in site.kinds for component in site.components(kind)}
    url, token = f"{address.scheme}://{address.netloc}", os.environ.get(TOKEN_VARIABLE, "")
    scheme = _scheme(auth or os.environ.get(AUTH_VARIABLE, "token"))
    return InfluxStore(url, database, token, site=site.name, spool=home / "spool", kind_of=kinds, scheme=scheme)


def _scheme(auth: str) -> Literal["Token", "Bearer", "Basic"]:
    if auth not in SCHEMES:
        raise ConfigError(AUTH_VARIABLE, f"'{auth}'", f"one of {' '.join(SCHEMES)}", "unset it")
    return SCHEMES[auth]
