"""Prometheus exporters scraped at their /metrics pages: node_exporter, DCGM exporter and any other.

Series carry the measurement `prometheus` and the metric's name as field, as Telegraf's inputs.prometheus (version 2)
writes them, with the page's labels, its `url` and, as Prometheus does, `instance` = host:port.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import translate
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from plant.errors import SourceUnavailable
from twin.telemetry.fetch import Fetcher
from twin.telemetry.samples import BadRow, Gathered, Read, Series, joined
from twin.telemetry.sources import Mark

MEASUREMENT = "prometheus"
AT_ONCE = 64
ACCEPT = {"Accept": "text/plain;version=0.0.4;q=1,*/*;q=0.1"}
# Comments, and the exemplar that OpenMetrics puts behind a number, which the parser would take for a time.
_COMMENT = r"^[ \t]*#.*$|(?<=[0-9NnFf]) # \{.*$"


class ScrapeSource:
    """Several exporters asked at once; those that answer are read though others do not."""

    kind = "prometheus"

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        only: Sequence[str] = (),
        token: str = "",
        timeout_s: float = 5.0,
        ca_file: str | None = None,
    ) -> None:
        self.name, self._urls, self._only = name, tuple(urls), tuple(only)
        self._headers = ACCEPT | ({"Authorization": f"Bearer {token}"} if token else {})
        self._fetcher = Fetcher(timeout_s, ca_file, hosts=len(self._urls))
        # Where a page dates its samples, the same one may stand there again at the next scrape.
        self._dated: dict[Series, int] = {}

    def poll(self, now_ms: int) -> Read:
        with ThreadPoolExecutor(min(AT_ONCE, len(self._urls))) as pool:
            answers = list(pool.map(lambda url: self._page(url, now_ms), self._urls))
        dead = [answer for answer in answers if isinstance(answer, SourceUnavailable)]
        if len(dead) == len(answers):
            raise dead[0]
        told = Gathered()
        told.bad += [BadRow(error.where, error.found) for error in dead]
        return joined([*(answer for answer in answers if isinstance(answer, Read)), told.read()])

    def _page(self, url: str, now_ms: int) -> Read | SourceUnavailable:
        try:
            body, content = self._fetcher.get(url, self._headers)
        except SourceUnavailable as error:
            return error
        tags = {"url": url, "instance": urlsplit(url).netloc.rpartition("@")[2]}
        read = read_page(body, now_ms, tags, self._dated, self._only)
        if read.bad and not len(read.samples):
            kind = content.split(";")[0] or "of no stated kind"
            return SourceUnavailable(url, f"its page is no metrics ({kind})", "Prometheus text", "correct the path")
        return read

    def mark(self) -> Mark:
        return {}

    def resume(self, mark: Mark) -> None:
        pass

    def close(self) -> None:
        self._fetcher.close()


def read_page(
    body: bytes,
    now_ms: int,
    tags: dict[str, str],
    dated: dict[Series, int] | None = None,
    only: Sequence[str] = (),
) -> Read:
    """The samples of one page; `tags` are added to its labels, which win. `dated`: newest time told of each series.

    only: shell patterns of the metrics to read; without any all are read.

    The time is now_ms (Unix) unless the page says another. NaN and the infinities are what the exporter says: NaN is
    given with its word, both are refused later by name.
    """
    # Comments are left out: a TYPE line would make the parser rename counters that do not end in _total.
    text = _left_out(tuple(only)).sub("", body.decode("utf-8-sig", "replace"))
    gathered, seen = Gathered(), set()
    if text and not text.endswith("\n"):
        text, _, rest = text.rpartition("\n")
        gathered.bad.append(BadRow("the last line", "has no end: the page is cut off", rest))
    known = {} if dated is None else dated
    for number, found in _samples(text):
        if isinstance(found, str):
            gathered.bad.append(BadRow(f"line {number}", "is no metric", found))
            continue
        series = Series.of(MEASUREMENT, found.name, tags | found.labels)
        if series in seen:
            gathered.bad.append(BadRow(found.name, "stands on the page twice", str(found.labels)))
            continue
        seen.add(series)
        at_ms = now_ms if found.timestamp is None else round(float(found.timestamp) * 1000)
        if found.timestamp is not None:
            if known.get(series) == at_ms:
                continue
            known[series] = at_ms
        gathered.add(gathered.slot(series), at_ms, "NaN" if math.isnan(found.value) else found.value)
    return gathered.read()


@lru_cache(maxsize=64)
def _left_out(only: tuple[str, ...]) -> re.Pattern[str]:
    """Lines that are not read: comments, and metrics that no pattern takes. They are emptied, so numbers stay."""
    wanted = "|".join(translate(pattern).removesuffix(r"\Z").replace(".*", r"[^{\s]*") for pattern in only)
    return re.compile(rf"{_COMMENT}|^(?!(?:{wanted})[{{\s]).+$" if only else _COMMENT, re.MULTILINE)


def _samples(text: str) -> Iterator[tuple[int, Any]]:
    """The parser's samples, or (number, line) of those it refuses: it stops at the first, so then each is tried."""
    from prometheus_client.parser import text_string_to_metric_families

    def parsed(part: str) -> list[Any]:
        return [sample for family in text_string_to_metric_families(part) for sample in family.samples]

    try:
        yield from ((0, sample) for sample in parsed(text))
        return
    except (ValueError, KeyError, IndexError, TypeError):
        pass  # the parser's words name no line
    for number, line in enumerate(text.split("\n"), 1):
        try:
            yield from ((number, sample) for sample in parsed(line + "\n"))
        except (ValueError, KeyError, IndexError, TypeError):
            yield number, line
