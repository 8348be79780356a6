"""A scratch InfluxDB on loopback, for tests, benchmarks and chaos: influxd 1.6 from Debian behind nginx.

nginx answers the 2.x write address and asks for a token, which 1.6 does not. Everything runs on free ports under one
folder and is stopped by its process id. The database can be killed, paused, filled and started again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path

from plant.errors import ConfigError, StoreUnavailable

TOKEN = "twin-test-token"
READY_S = 15.0
FULL_MARK = "full"

# nginx lives in sbin, which an ordinary user's PATH may lack.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

_INFLUXD = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{data}/data"
  wal-dir = "{data}/wal"
  index-version = "{index}"
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
  map $http_authorization $tok_ok {{ default 0; "Token {token}" 1; "Bearer {token}" 1; "Basic {basic}" 1; }}
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
      if (-f {folder}/{full}) {{ return 507 '{{"code":"internal error","message":"no space left on device"}}'; }}
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
    """influxd and nginx in a folder; `with` stops them. Raises ConfigError when one of them is not installed.

    index: `tsi1` (on disk) or `inmem` (1.6's own default). disk_mb: keep the data on a file system of that size, so
    that it can really be full; where this user may not mount one, a full database is played by the proxy (507).
    """

    def __init__(self, folder: Path, *, index: str = "tsi1", disk_mb: int = 0) -> None:
        missing = missing_for_influx()
        if missing:
            raise ConfigError(" and ".join(missing), "not installed", "Debian's influxdb and nginx", "make servers")
        self.folder = folder
        rpc, self.inner, port = free_ports(3)
        self.url, self.token = f"http://127.0.0.1:{port}", TOKEN
        folder.mkdir(parents=True, exist_ok=True)
        self.disk = _mounted(folder / "disk", disk_mb) if disk_mb else None
        user = "user root;\n" if os.geteuid() == 0 else ""
        words = {"rpc": rpc, "inner": self.inner, "port": port, "folder": folder, "index": index}
        (folder / "influxd.conf").write_text(_INFLUXD.format(**words, data=self.disk or folder))
        basic = "dXNlcjp0d2luLXRlc3QtdG9rZW4="  # user:TOKEN
        (folder / "nginx.conf").write_text(_NGINX.format(**words, user=user, token=TOKEN, basic=basic, full=FULL_MARK))
        self._influxd: subprocess.Popen[bytes] | None = None
        self._nginx: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> InfluxServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

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
        """Both processes gone, and the file system of the data with them."""
        self.stop_database()
        if self._nginx is not None:
            self._nginx.terminate()
            self._nginx.wait(10)
            self._nginx = None
        if self.disk is not None:
            subprocess.run(["umount", str(self.disk)], check=False, stderr=subprocess.DEVNULL)
            self.disk = None

    def start_database(self) -> None:
        """influxd up and answering through nginx."""
        self._influxd = self._run("influxd", "-config", str(self.folder / "influxd.conf"))
        self._wait_ready()

    def stop_database(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """influxd stopped; SIGKILL for an accident."""
        if self._influxd is not None:
            self._influxd.send_signal(sign)
            self._influxd.send_signal(signal.SIGCONT)
            self._influxd.wait(20)
            self._influxd = None

    def pause_database(self) -> None:
        """influxd alive but silent, when this returns."""
        self._signal(signal.SIGSTOP)
        until_s = time.monotonic() + READY_S
        while self._influxd is not None and not _stands_still(self._influxd.pid) and time.monotonic() < until_s:
            time.sleep(0.001)

    def continue_database(self) -> None:
        """influxd answering again."""
        self._signal(signal.SIGCONT)

    def fill_disk(self) -> None:
        """No room for the database any more: on its own small file system truly, else by the proxy's word."""
        if self.disk is None:
            (self.folder / FULL_MARK).touch()
            return
        with suppress(OSError), (self.disk / FULL_MARK).open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65_536)

    def free_disk(self) -> None:
        """Room again."""
        ((self.disk or self.folder) / FULL_MARK).unlink(missing_ok=True)

    def query(self, statement: str, database: str = "") -> list[dict[str, object]]:
        """The series of a statement, asked at influxd itself. Raises StoreUnavailable for an error."""
        data = urllib.parse.urlencode({"q": statement, "db": database}).encode()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.inner}/query", data, timeout=30) as answer:
                result = json.load(answer)["results"][0]
        except OSError as error:
            raise StoreUnavailable(self.url, str(error), "an answer", f"see {self.folder}") from error
        if "error" in result:
            raise StoreUnavailable(self.url, str(result["error"]), "", "correct the statement")
        return list(result.get("series", []))

    def write(self, lines: str, database: str) -> None:
        """Line protocol from somebody else, at influxd itself; raises OSError where it is refused."""
        url = f"http://127.0.0.1:{self.inner}/write?{urllib.parse.urlencode({'db': database})}"
        urllib.request.urlopen(urllib.request.Request(url, lines.encode()), timeout=10).close()

    def create_database(self, name: str) -> str:
        """An empty database of this name, which is returned."""
        self.query(f'DROP DATABASE "{name}"')
        self.query(f'CREATE DATABASE "{name}"')
        return name

    def cpu_s(self) -> float:
        """User plus system seconds of both processes so far."""
        ticks = 0
        for process in (self._influxd, self._nginx):
            if process is not None:
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _signal(self, sign: signal.Signals) -> None:
        if self._influxd is not None:
            self._influxd.send_signal(sign)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        program = shutil.which(command[0], path=_PATH) or command[0]
        with (self.folder / f"{command[0]}.out").open("ab") as out:
            return subprocess.Popen([program, *command[1:]], stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def _wait_ready(self) -> None:
        until_s = time.monotonic() + READY_S
        while time.monotonic() < until_s:
            dead = [p for p in (self._influxd, self._nginx) if p is not None and p.poll() is not None]
            if dead:
                raise StoreUnavailable(str(self.folder), "a server died at its start", "", "see the .out files there")
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        raise StoreUnavailable(str(self.folder), f"not ready in {READY_S} s", "", "see the .out files there")


def _mounted(folder: Path, size_mb: int) -> Path | None:
    """A file system in memory of this size at the folder; None where this user may not mount one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    return folder if done.returncode == 0 else None


def _stands_still(pid: int) -> bool:
    """Whether every thread of a process is stopped."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state in "TtZX" for state in states)
