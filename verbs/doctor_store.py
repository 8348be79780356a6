"""What `foretwin doctor` says of the configured store: an InfluxDB that answers, lets us in, reads and writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from plant.errors import ConfigError, StoreUnavailable
from verbs import settings as config_file
from verbs.stores import SCHEMES, TOKEN_VARIABLE

Check = tuple[bool, str, str]
WAIT_S = 5.0


def checks(config: str | Path) -> dict[str, Callable[[], Check]]:
    """One check where the settings name an InfluxDB; faulty settings are told by the checks of the sources."""
    try:
        store = config_file.load(config).store
    except ConfigError:
        return {}
    if store.kind == "embedded":
        return {}
    return {"store": lambda: _asked((store.url or "").rstrip("/"), str(store.database), store.auth)}


def _asked(url: str, database: str, auth: str) -> Check:
    """A question and a write of nothing: neither leaves anything behind."""
    import urllib3

    from twin.telemetry.influx_query import Address, InfluxQuery, refusal

    token = os.environ.get(TOKEN_VARIABLE, "")
    query = InfluxQuery(url, database, token, scheme=SCHEMES[auth], timeout_s=WAIT_S)
    try:
        query.check()
        headers = Address.of(url, database, token, SCHEMES[auth]).headers()
        fields = {"bucket": database, "org": "", "precision": "ns"}
        address = f"{url}/api/v2/write?{urlencode(fields)}"
        with urllib3.PoolManager(timeout=WAIT_S, retries=False) as pool:
            answer = pool.request("POST", address, body=b"", headers=headers)
    except StoreUnavailable as error:
        return False, f"{error.where}: {error.found}", _cure(error, token)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        return False, f"{url}: reads, but takes no write ({type(error).__name__})", "look at the server's log"
    finally:
        query.close()
    said = answer.data.decode("utf-8", "replace")
    if answer.status == 404 and "database" not in said:
        cure = "InfluxDB before 1.8 needs a proxy in front that maps it to /write (docs/telemetry.md)"
        return False, f"{url}: reads, but has no write address /api/v2/write (404)", cure
    if answer.status in (401, 403, 404) or answer.status >= 500:
        error = refusal(url, database, said, answer.status)
        return False, f"{error.where}: reads, but not to be written: {error.found}", error.cure
    return True, f"{url} database {database}: reads and takes writes", ""


def _cure(error: StoreUnavailable, token: str) -> str:
    missing = "refused" in error.found and not token
    return f"set {TOKEN_VARIABLE}: there is none" if missing else error.cure
