"""Prometheus pages: what exporters really write, what they should not, and servers that misbehave."""

from __future__ import annotations

import gzip
import math
import socket
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from plant.errors import SourceUnavailable
from twin.telemetry import fetch
from twin.telemetry.scrape import ScrapeSource, read_page

DCGM = b"""# HELP DCGM_FI_DEV_GPU_TEMP GPU temperature (in C).
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-6f",device="nvidia0",modelName="H100",Hostname="n001"} 41
# TYPE DCGM_FI_DEV_PCIE_REPLAY_COUNTER counter
DCGM_FI_DEV_PCIE_REPLAY_COUNTER{gpu="0",UUID="GPU-6f",device="nvidia0",modelName="H100",Hostname="n001"} 7
"""


def by_name(read):
    samples = read.samples
    return {samples.series[w].field: v for w, v in zip(samples.which.tolist(), samples.value.tolist(), strict=True)}


def test_dcgm_names_and_labels_stay_as_they_are():
    read = read_page(DCGM, 5, {"instance": "n001:9400"})
    assert by_name(read) == {"DCGM_FI_DEV_GPU_TEMP": 41.0, "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 7.0}
    assert {s.measurement for s in read.samples.series} == {"prometheus"}
    assert dict(read.samples.series[0].tags)["Hostname"] == "n001"
    assert dict(read.samples.series[0].tags)["instance"] == "n001:9400"
    assert set(read.samples.time_ms.tolist()) == {5}


def test_what_the_peer_writes_comes_back():
    registry = CollectorRegistry()
    Gauge("temp", "t", ["chip"], registry=registry).labels('co"re\\ 0\nü').set(-1.5e-7)
    Counter("hits", "h", registry=registry).inc(3)
    Histogram("lat", "l", buckets=(1,), registry=registry).observe(0.5)
    read = read_page(generate_latest(registry), 5, {})
    assert read.bad == ()
    assert by_name(read)["temp"] == -1.5e-7
    assert by_name(read)["hits_total"] == 3
    assert by_name(read)["lat_sum"] == 0.5
    chips = [dict(s.tags)["chip"] for s in read.samples.series if s.field == "temp"]
    assert chips == ['co"re\\ 0\nü']


def test_nan_and_infinities_are_what_they_are():
    read = read_page(b"a NaN\nb +Inf\nc -Inf\nd 1e400\n", 5, {})
    assert [math.isnan(by_name(read)["a"]), by_name(read)["b"], by_name(read)["c"]] == [True, math.inf, -math.inf]
    assert read.samples.text == {0: "NaN"}


def test_a_bad_line_costs_itself_and_a_second_of_a_kind_is_told():
    read = read_page(b'a 1\n\nb{x="1" 2\n# note\nc{x="1"} 3\nc{x="1"} 4\nd one\n', 5, {})
    assert by_name(read) == {"a": 1.0, "c": 3.0}
    assert [str(row) for row in read.bad] == [
        'line 3: is no metric in `b{x="1" 2`',
        "c: stands on the page twice in `{'x': '1'}`",
        "line 7: is no metric in `d one`",
    ]


def test_line_ends_marks_and_exemplars_of_other_writers():
    read = read_page(b'\xef\xbb\xbfa 1\r\nh{le="1"} 3 # {t="x"} 0.5\r\n# EOF\r\n', 5, {})
    assert (by_name(read), read.bad) == ({"a": 1.0, "h": 3.0}, ())
    assert read.samples.time_ms.tolist() == [5, 5]


def test_dated_samples_are_told_once():
    dated = {}
    page = b"a 1 1600000000000\nb 2\n"
    assert by_name(read_page(page, 5, {}, dated)) == {"a": 1.0, "b": 2.0}
    assert by_name(read_page(page, 6, {}, dated)) == {"b": 2.0}
    later = read_page(b"a 1 1600000001000\n", 7, {}, dated)
    assert later.samples.time_ms.tolist() == [1600000001000]


def test_a_page_that_is_cut_off_gives_no_half_number():
    read = read_page(b"a 1\nb 23", 5, {})
    assert by_name(read) == {"a": 1.0}
    assert [str(row) for row in read.bad] == ["the last line: has no end: the page is cut off in `b 23`"]


def test_only_takes_what_fits():
    page = b'node_hwmon_temp 1\nnode_load1 2\nnode_hwmon_fan{a="1"} 3\nnode_hwmon 4\n'
    assert by_name(read_page(page, 5, {}, only=("node_hwmon_*", "x"))) == {
        "node_hwmon_temp": 1.0,
        "node_hwmon_fan": 3.0,
    }


@given(st.one_of(st.binary(), st.text(alphabet='ab{}="\\ \n1.#,').map(str.encode)))
def test_no_page_raises(body):
    read = read_page(body, 5, {})
    assert len(read.samples.which) == len(read.samples.value)
    assert np.all(np.isfinite(read.samples.value) | ~np.isfinite(read.samples.value))


class Server:
    """A socket that gives every caller the same bytes and then `after` happens."""

    def __init__(self, answer: bytes, *, drip_s: float = 0.0, hold: bool = False) -> None:
        self.answer, self.drip_s, self.hold, self.asked = answer, drip_s, hold, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/metrics"
        self.open = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while self.open:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(peer,), daemon=True).start()

    def _answer(self, peer):
        try:
            self.asked.append(peer.recv(65536))
            if self.drip_s:
                for byte in self.answer:
                    peer.sendall(bytes([byte]))
                    time.sleep(self.drip_s)
            else:
                peer.sendall(self.answer)
            while self.hold and self.open:
                time.sleep(0.02)
        except OSError:
            pass
        finally:
            peer.close()

    def close(self):
        self.open = False
        self.socket.close()


def answer(body: bytes, head: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n".encode() + body


def refusal(server: Server, timeout_s: float = 1.0, url: str | None = None) -> str:
    source = ScrapeSource("x", [url or server.url], timeout_s=timeout_s)
    begun = time.monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        source.poll(5)
    assert time.monotonic() - begun < timeout_s + 1.5
    source.close()
    server.close()
    return str(caught.value)


def test_gzip_and_redirects_are_followed():
    page = Server(answer(gzip.compress(DCGM), more="Content-Encoding: gzip\r\n"))
    first = Server(answer(b"", "302 Found", f"Location: {page.url}\r\n"))
    source = ScrapeSource("x", [first.url], token="secret-token")
    assert len(source.poll(5).samples) == 2
    assert b"secret-token" in first.asked[0]
    assert b"gzip" in page.asked[0]
    source.close()
    page.close(), first.close()


def test_a_redirect_to_another_host_does_not_carry_the_token():
    page = Server(answer(DCGM))
    elsewhere = page.url.replace("127.0.0.1", "localhost")
    first = Server(answer(b"", "302 Found", f"Location: {elsewhere}\r\n"))
    ScrapeSource("x", [first.url], token="secret-token").poll(5)
    assert b"secret-token" not in page.asked[0]
    page.close(), first.close()


def test_a_redirect_in_a_circle_ends():
    server = Server(b"")
    server.answer = answer(b"", "302 Found", f"Location: {server.url}\r\n")
    assert "redirect" in refusal(server)


@pytest.mark.parametrize(
    ("bytes_", "words"),
    [
        (answer(b"<html><body>hello</body></html>", more="Content-Type: text/html\r\n"), "no metrics (text/html)"),
        (answer(b"no", "503 Service Unavailable"), "answers 503: no"),
        (answer(b"who?", "401 Unauthorized"), "answers 401"),
        (answer(DCGM)[:-50], "IncompleteRead"),
        (answer(b"\x1f\x8bnot gzip", more="Content-Encoding: gzip\r\n"), "does not answer"),
        (answer(gzip.compress(DCGM * 50)[:-30], more="Content-Encoding: gzip\r\n"), "ends too soon"),
        (answer(DCGM, more="Content-Encoding: br\r\n"), "packed as br"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
def test_answers_that_are_none_are_said_in_words(bytes_, words):
    assert words in refusal(Server(bytes_))


def test_a_server_that_says_nothing_or_drips_is_left_in_time():
    refusal(Server(b"", hold=True), timeout_s=0.2)
    assert "not done after 0.2 s" in refusal(Server(answer(DCGM * 9), drip_s=0.02), timeout_s=0.2)


def test_an_answer_without_an_end_is_cut(monkeypatch):
    monkeypatch.setattr(fetch, "MOST_BYTES", 100_000)
    bomb = gzip.compress(b"a 1\n" * 1_000_000)
    server = Server(answer(bomb, more="Content-Encoding: gzip\r\n"))
    source = ScrapeSource("x", [server.url])
    source._fetcher = fetch.Fetcher(2.0, most_bytes=100_000)
    with pytest.raises(SourceUnavailable, match="without an end"):
        source.poll(5)
    server.close()


def test_https_where_http_is_spoken_is_said():
    server = Server(answer(DCGM))
    assert "speaks http" in refusal(server, url=server.url.replace("http:", "https:"))


def test_a_dead_one_of_several_does_not_cost_the_others():
    alive, dead = Server(answer(DCGM)), Server(answer(b"no", "500 Down"))
    source = ScrapeSource("x", [alive.url, dead.url, "http://127.0.0.1:1/metrics"], timeout_s=2)
    read = source.poll(5)
    assert len(read.samples) == 2
    assert [row.where for row in read.bad] == [dead.url, "http://127.0.0.1:1/metrics"]
    alive.close(), dead.close()
