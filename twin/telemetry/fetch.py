"""One HTTP answer, whole, within a time and a length: what keeps a bad server from holding or flooding a reader."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping

import urllib3

from plant.errors import SourceUnavailable

MOST_BYTES = 256 * 1024 * 1024
REDIRECTS = 3
MOST_KEPT = 512


class Fetcher:
    """Asks servers by GET; connections to so many `hosts` are kept.

    TLS certificates are always checked, against `ca_file` if given.
    """

    def __init__(
        self, timeout_s: float, ca_file: str | None = None, most_bytes: int = MOST_BYTES, hosts: int = 1
    ) -> None:
        self._timeout_s, self._most_bytes = timeout_s, most_bytes
        self._pool = urllib3.PoolManager(num_pools=max(4, min(hosts, MOST_KEPT)), maxsize=1, ca_certs=ca_file)

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> tuple[bytes, str]:
        """The decoded body of a 200 answer and its content type; anything else is a SourceUnavailable.

        A redirect is followed a few times; urllib3 takes credentials off where it leads to another host.
        """
        until_s = time.monotonic() + self._timeout_s
        timeout = urllib3.Timeout(connect=min(3.0, self._timeout_s), read=self._timeout_s)
        retries = urllib3.Retry(total=REDIRECTS, connect=0, read=0, status=0, other=0, redirect=REDIRECTS)
        asked = {"Accept-Encoding": "gzip", **(headers or {})}
        try:
            answer = self._pool.request(
                "GET", url, headers=asked, timeout=timeout, retries=retries, preload_content=False
            )
            try:
                body = self._body(answer, url, until_s)
                whole = answer.status == 200
            finally:
                # What was not read to its end cannot serve the next request.
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError, zlib.error) as error:
            raise SourceUnavailable(url, f"does not answer: {_reason(error)}", cure=_cure(error)) from error
        if not whole:
            said = " ".join(body[:200].decode("utf-8", "replace").split())
            raise SourceUnavailable(url, f"answers {answer.status}: {said}", "200", "look at the server's log")
        return body, str(answer.headers.get("Content-Type", ""))

    def _body(self, answer: urllib3.BaseHTTPResponse, url: str, until_s: float) -> bytes:
        """The body, unpacked. Not by urllib3, which takes a packed body that ends too soon for a whole one."""
        packing = answer.headers.get("Content-Encoding", "identity").lower()
        if packing not in ("identity", "gzip"):
            raise SourceUnavailable(url, f"answers packed as {packing[:40]}", "gzip or plain", "correct the address")
        unpack = zlib.decompressobj(wbits=31) if packing == "gzip" else None
        parts, length = [], 0
        # read1 hands on what has arrived; read would wait for a full block, however slowly it drips.
        while part := answer.read1(65_536, decode_content=False):
            part = part if unpack is None else unpack.decompress(part, self._most_bytes + 1)
            parts.append(part)
            length += len(part)
            if length > self._most_bytes:
                limit = f"at most {self._most_bytes // 1_000_000} MB"
                raise SourceUnavailable(url, "answers without an end", limit, "correct the address or ask for less")
            if time.monotonic() > until_s:
                raise SourceUnavailable(url, f"is not done after {self._timeout_s:g} s", cure="raise timeout_s")
        if unpack is not None and not unpack.eof:
            raise SourceUnavailable(url, "its packed answer ends too soon", cure="look at the server's log")
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()


def _reason(error: Exception) -> str:
    """The innermost reason in one short line, without addresses of objects."""
    inner: BaseException = getattr(error, "reason", None) or error.__cause__ or error
    inner = inner if isinstance(inner, BaseException) else error
    text = " ".join(str(inner).split()).split(": ", 1)[-1]
    return f"{type(inner).__name__}: {text}"[:200]


def _cure(error: Exception) -> str:
    text = f"{type(error).__name__} {error}"
    if "CERTIFICATE_VERIFY" in text:
        return "name the authority's certificate in ca_file"
    if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text:
        return "the server speaks http, not https: correct the address"
    return "start it or correct its address"
