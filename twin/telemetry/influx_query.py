"""Reading from InfluxDB by InfluxQL over GET /query, the one read path that 1.x, 2.x and 3 Core all answer.

One statement per request, no bind parameters (3 Core takes none): a name enters a statement only after the Store's
name rule, quoted. Rows come as chunked CSV, names and newest values as JSON. A trap that this module closes: asked for
CSV, the server hides a statement's error behind 200 and an empty body, so an empty answer is asked again as JSON.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import urllib3
from numpy.typing import NDArray

from plant.errors import ConfigError, StoreUnavailable
from twin.telemetry.store import NAME_RULE, Batch, name_ok

CHUNK_ROWS = 20_000
Scheme = Literal["Token", "Bearer", "Basic"]


def quoted(name: str) -> str:
    """An identifier for InfluxQL; ValueError for a name outside the rule."""
    return f'"{_checked(name)}"'


def text(name: str) -> str:
    """A string value for InfluxQL; ValueError for a name outside the rule."""
    return f"'{_checked(name)}'"


def _checked(name: str) -> str:
    if not name_ok(name):
        raise ValueError(f"{ascii(name)[:80]} cannot enter a query: {NAME_RULE}")
    return name


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is and how to get in. `bucket` is `database` or `database/retention-policy`.

    scheme: `Token` suits 1.x behind a proxy, 2.x and 3 Core; `Bearer` 3 Core; `Basic` takes `user:password` as token.
    """

    url: str
    bucket: str
    token: str = field(repr=False)
    scheme: Scheme = "Token"

    @classmethod
    def of(cls, url: str, bucket: str, token: str, scheme: Scheme = "Token") -> Address:
        """An address without a slash at its end; ConfigError for a bucket that is no name."""
        parts = bucket.split("/")
        if len(parts) > 2 or not all(map(name_ok, parts)):
            allowed = "a database, or database/retention-policy, in letters, digits, _ and -"
            raise ConfigError("[store] database", ascii(bucket)[:80], allowed, "rename it")
        return cls(url.rstrip("/"), bucket, token, scheme)

    def headers(self) -> dict[str, str]:
        """The header that lets us in; none without a token, for a server that asks for none."""
        if not self.token:
            return {}
        secret = b64encode(self.token.encode()).decode() if self.scheme == "Basic" else self.token
        return {"Authorization": f"{self.scheme} {secret}"}

    def query_fields(self) -> dict[str, str]:
        """The parameters of a query that say which database; 3 Core knows no rp, so it goes only where one is named."""
        database, _, policy = self.bucket.partition("/")
        return {"db": database} | ({"rp": policy} if policy else {})


class InfluxQuery:
    """Asks one database of one server; every failure is a StoreUnavailable that says which and what to do.

    method: GET is the one that all versions take; POST (1.x and 2.x) sends the statement in the body.
    """

    def __init__(
        self,
        url: str,
        database: str,
        token: str,
        *,
        scheme: Scheme = "Token",
        timeout_s: float = 30.0,
        method: Literal["GET", "POST"] = "GET",
    ) -> None:
        self._address, self._method = Address.of(url, database, token, scheme), method
        timeout = urllib3.Timeout(connect=min(3.0, timeout_s), read=timeout_s)
        self._pool = urllib3.PoolManager(maxsize=4, timeout=timeout, retries=False)

    def check(self) -> None:
        """Raise StoreUnavailable unless the server answers, takes the token and has the database."""
        # SHOW statements answer with nothing for an unknown database; SELECT says that it is unknown.
        self.series('SELECT "text" FROM "event" LIMIT 1')

    def series(self, statement: str) -> list[dict[str, Any]]:
        """The series (name, tags, columns, values) of a statement's JSON answer; times in ms."""
        body = self._get(statement, "application/json", epoch="ms")
        answer: list[dict[str, Any]] = []
        # Chunks come as one JSON object per line.
        for line in filter(None, body.split(b"\n")):
            for result in json.loads(line).get("results", []):
                if "error" in result:
                    raise self._refusal(str(result["error"]))
                answer += result.get("series", [])
        return answer

    def started(self) -> str | None:
        """When the server was started, in its own words; None where it does not say (2.x, 3 Core, not our right)."""
        try:
            series = self.records("SHOW DIAGNOSTICS FOR 'system'")
        except StoreUnavailable:
            return None
        return next((str(row["started"]) for row in series if row.get("started")), None)

    def records(self, statement: str) -> list[dict[str, Any]]:
        """The rows of a statement's JSON answer as dictionaries, times in ms.

        The tags of GROUP BY are among the keys: 1.x and 2.x give them beside the columns, 3 Core as columns.
        """
        return [
            dict(zip(series["columns"], row, strict=True)) | series.get("tags", {})
            for series in self.series(statement)
            for row in series["values"]
        ]

    def rows(self, kind: str, fields: list[str], where: str) -> Batch:
        """The readings of these fields of a measurement, unsorted."""
        columns = ", ".join(quoted(name) for name in ["component", *fields])
        statement = f"SELECT {columns} FROM {quoted(kind)} WHERE {where}"
        body = self._get(statement, "application/csv", epoch="ns")
        if not body.strip():
            # No rows, or a hidden error: only JSON tells them apart.
            self.series(f"{statement} LIMIT 1")
            return Batch.empty()
        return parsed(body, fields)

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()

    def _get(self, statement: str, accept: str, *, epoch: str) -> bytes:
        fields = self._address.query_fields() | {
            "q": statement,
            "epoch": epoch,
            "chunked": "true",
            "chunk_size": str(CHUNK_ROWS),
        }
        headers = {"Accept": accept} | self._address.headers()
        url = f"{self._address.url}/query"
        try:
            if self._method == "GET":
                answer = self._pool.request("GET", url, fields=fields, headers=headers)
            else:
                answer = self._pool.request_encode_body("POST", url, fields, headers, encode_multipart=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailable(
                where=self._address.url,
                found=f"the server does not answer ({type(error).__name__})",
                cure="start InfluxDB or correct its address in `[store]`",
            ) from error
        if answer.status != 200:
            raise self._refusal(answer.data.decode("utf-8", "replace"), answer.status)
        return answer.data

    def _refusal(self, found: str, status: int = 200) -> StoreUnavailable:
        return refusal(self._address.url, self._address.bucket, found, status)


def refusal(url: str, database: str, found: str, status: int) -> StoreUnavailable:
    """What the server's refusal means and what to do about it; the token is never named."""
    where = f"{url} database {database}"
    short = " ".join(found.split())[:200]
    if status in (401, 403):
        return StoreUnavailable(
            where=where, found=f"the token was refused ({status})", cure="give a token that may do this"
        )
    if status == 404 or "database not found" in found:
        return StoreUnavailable(
            where=where, found="no such database", cure=f"create it: influx -execute 'CREATE DATABASE \"{database}\"'"
        )
    if status >= 500:
        return StoreUnavailable(
            where=where,
            # A proxy in between answers with a page, the server with one JSON object.
            found=f"the server is down or failing ({status}{f': {short}' if short.startswith('{') else ''})",
            cure="start InfluxDB and look at its log",
        )
    return StoreUnavailable(where=where, found=f"the server refused: {short}", cure="see the server's log")


def parsed(body: bytes, fields: list[str]) -> Batch:
    """Readings from a CSV answer with columns name, tags, time (ns), component and fields; empty cells are none.

    1.x prints the header once, 3 Core before every chunk, with blank lines between: both are read.
    """
    import pandas as pd

    header = body[: body.index(b"\n") + 1]
    first = header.rstrip(b"\r\n")
    if body.count(first) > 1:
        lines = body.splitlines(keepends=True)
        body = header + b"".join(line for line in lines if line.rstrip(b"\r\n") != first)
    frame = pd.read_csv(
        io.BytesIO(body),
        dtype={"time": np.int64, "component": str} | dict.fromkeys(fields, np.float64),
        usecols=["time", "component", *fields],
        keep_default_na=False,
        # 3 Core writes the word for nothing.
        na_values={name: ["", "null"] for name in fields},
    )
    time_ms = frame["time"].to_numpy(dtype=np.int64) // 1_000_000
    component: NDArray[np.object_] = np.empty(len(frame), dtype=object)
    component[:] = frame["component"].tolist()
    parts = []
    for name in fields:
        value = frame[name].to_numpy(dtype=np.float64)
        here = ~np.isnan(value)
        channel = np.full(int(here.sum()), name, dtype=object)
        parts.append(Batch(time_ms[here], component[here], channel, value[here]))
    return Batch.joined(parts)
