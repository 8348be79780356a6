"""Real servers for tests: InfluxDB 1.6 from Debian behind nginx, which answers the 2.x write address and asks a token.

Everything runs on free loopback ports under one folder and is stopped by its process id.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

TOKEN = "twin-test-token"
READY_S = 15.0

# nginx lives in sbin, which an ordinary user's PATH may lack.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

_INFLUXD = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  index-version = "tsi1"
  query-log-enabled = false
  max-series-per-database = 0
  max-values-per-tag = 0
[monitor]
  store-enabled = false
[retention]
  enabled = false
[shard-precreation]
  enabled = false
[continuous_queries]
  enabled = false
[http]
  bind-address = "127.0.0.1:{inner}"
  log-enabled = false
  max-body-size = 0
"""

_NGINX = """
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  large_client_header_buffers 8 32k;
  map $http_authorization $tok_ok {{ default 0; "Token {token}" 1; "Bearer {token}" 1; }}
  map $arg_precision $prec {{ default $arg_precision; "" ns; us u; }}
  map $arg_bucket $db {{ default $arg_bucket; "~^(?<d>[^/%]+)(?:/|%2F)" $d; }}
  map $arg_bucket $rp {{ default ""; "~^[^/%]+(?:/|%2F)(?<r>.+)$" $r; }}
  upstream inf {{ server 127.0.0.1:{inner} max_fails=0; keepalive 8; }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port};
    location = /ping {{ proxy_pass http://inf; }}
    location = /api/v2/write {{
      if ($tok_ok = 0) {{ return 401 '{{"code":"unauthorized","message":"unauthorized access"}}'; }}
      proxy_set_header Authorization ""; proxy_pass http://inf/write?db=$db&rp=$rp&precision=$prec; }}
    location = /query {{
      if ($tok_ok = 0) {{ return 401 '{{"code":"unauthorized","message":"unauthorized access"}}'; }}
      proxy_set_header Authorization ""; proxy_pass http://inf; }}
  }}
}}
"""


def missing_for_influx() -> list[str]:
    """The programs an InfluxServer needs and this machine lacks; `make servers` installs them."""
    return [name for name in ("influxd", "nginx") if not shutil.which(name, path=_PATH)]


def free_ports(n: int) -> list[int]:
    """Loopback ports nobody listens on just now."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class InfluxServer:
    """influxd and nginx in a folder. `start_database` / `stop_database` let a test take the database away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rpc, self.inner, port = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.token = TOKEN
        folder.mkdir(parents=True, exist_ok=True)
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "influxd.conf").write_text(_INFLUXD.format(rpc=rpc, inner=self.inner, folder=folder))
        (folder / "nginx.conf").write_text(
            _NGINX.format(user=user, folder=folder, inner=self.inner, port=port, token=TOKEN)
        )
        self._influxd: subprocess.Popen[bytes] | None = None
        self._nginx: subprocess.Popen[bytes] | None = None

    def start(self) -> InfluxServer:
        """Both processes, ready to answer."""
        self._nginx = self._run("nginx", "-e", str(self.folder / "nginx.log"), "-c", str(self.folder / "nginx.conf"))
        try:
            self.start_database()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Both processes gone."""
        self.stop_database()
        if self._nginx is not None:
            self._nginx.terminate()
            self._nginx.wait(10)
            self._nginx = None

    def start_database(self) -> None:
        """influxd up and answering through nginx."""
        self._influxd = self._run("influxd", "-config", str(self.folder / "influxd.conf"))
        self._wait_ready()

    def stop_database(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """influxd stopped; SIGKILL for an accident."""
        if self._influxd is not None:
            self._influxd.send_signal(sign)
            self._influxd.wait(20)
            self._influxd = None

    def pause_database(self) -> None:
        """influxd alive but silent."""
        assert self._influxd is not None
        self._influxd.send_signal(signal.SIGSTOP)

    def continue_database(self) -> None:
        """influxd answering again."""
        assert self._influxd is not None
        self._influxd.send_signal(signal.SIGCONT)

    def query(self, statement: str, database: str = "") -> list[dict[str, object]]:
        """The series of a statement, asked at influxd itself."""
        data = urllib.parse.urlencode({"q": statement, "db": database}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.inner}/query", data, timeout=10) as answer:
            result = json.load(answer)["results"][0]
        assert "error" not in result, result
        return list(result.get("series", []))

    def create_database(self, name: str) -> str:
        """An empty database of this name, which is returned."""
        self.query(f'DROP DATABASE "{name}"')
        self.query(f'CREATE DATABASE "{name}"')
        return name

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        program = shutil.which(command[0], path=_PATH)
        assert program is not None, f"{command[0]} is not installed: run `make servers`"
        with (self.folder / f"{command[0]}.out").open("ab") as out:
            return subprocess.Popen([program, *command[1:]], stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def _wait_ready(self) -> None:
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            for process in (self._influxd, self._nginx):
                assert process is not None
                assert process.poll() is None, f"died at start; see {self.folder}"
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"not ready in {READY_S} s; see {self.folder}")
