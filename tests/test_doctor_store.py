"""doctor's word on the configured store, against small servers that answer as InfluxDB and proxies do."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from verbs import doctor_store

ROWS = b'{"results":[{"statement_id":0}]}'
NO_PAGE = b"404 page not found"


@contextmanager
def server(read, write):
    """Answers every question with one (status, body), every write with another."""

    class Handler(BaseHTTPRequestHandler):
        def _say(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self._say(*read)

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._say(*write)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def said(tmp_path, url, monkeypatch, token="sesame"):
    monkeypatch.setenv("FORETWIN_STORE__TOKEN", token)
    file = tmp_path / "s.toml"
    file.write_text(f'[store]\nkind = "influx"\nurl = "{url}"\ndatabase = "t"\n')
    return doctor_store.checks(file)["store"]()


@pytest.mark.parametrize(
    ("read", "write", "good", "words"),
    [
        ((200, ROWS), (204, b""), True, "reads and takes writes"),
        ((200, ROWS), (400, b'{"code":"invalid","message":"no points"}'), True, "reads and takes writes"),
        ((200, ROWS), (404, NO_PAGE), False, "no write address"),
        ((200, ROWS), (404, b'{"error":"database not found"}'), False, "no such database"),
        ((200, ROWS), (403, b"{}"), False, "not to be written: the token was refused (403)"),
        ((200, ROWS), (502, b"<html>"), False, "failing (502)"),
        ((401, b"{}"), (204, b""), False, "the token was refused (401)"),
        ((200, b'{"results":[{"error":"database not found: t"}]}'), (204, b""), False, "no such database"),
    ],
)
def test_each_kind_of_server_is_told_apart(tmp_path, monkeypatch, read, write, good, words):
    with server(read, write) as url:
        ok, found, cure = said(tmp_path, url, monkeypatch)
    assert ok is good, found
    assert words in found
    assert good or cure
    assert "sesame" not in found + cure


def test_a_missing_token_and_a_missing_server_are_told_with_their_cure(tmp_path, monkeypatch):
    with server((401, b"{}"), (401, b"{}")) as url:
        assert "set FORETWIN_STORE__TOKEN" in said(tmp_path, url, monkeypatch, token="")[2]
    ok, found, cure = said(tmp_path, url, monkeypatch)
    assert not ok
    assert "does not answer" in found
    assert "start InfluxDB" in cure


def test_an_embedded_store_needs_no_server_and_faulty_settings_are_told_elsewhere(tmp_path):
    assert doctor_store.checks(tmp_path / "foretwin.toml") == {}
    (tmp_path / "bad.toml").write_text("[store]\nkin = 1\n")
    assert doctor_store.checks(tmp_path / "bad.toml") == {}
