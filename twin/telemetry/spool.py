"""Line protocol on disk: what was accepted and is not yet known to be in the database.

One file per block, `<number>.lp`, written whole under another name first. Its first line is a comment, which InfluxDB
skips, so that the database client's callbacks can say which blocks they speak of: `# block <number> <readings>`.
Numbers only rise while files are there, so their order is the order of writing. Several processes may share a folder:
a block that two of them send is stored once, since the same series and time is the same reading.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_HEAD = re.compile(rb"^# block (\d{12}) (\d+)$", re.MULTILINE)


def blocks_in(data: bytes) -> list[tuple[int, int]]:
    """(number, readings) of every block in data that holds one or more of them."""
    return [(int(number), int(readings)) for number, readings in _HEAD.findall(data)]


class Spool:
    """A folder of blocks. Nothing here talks to a database."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._last = max(self.numbers(), default=0)

    def put(self, lines: list[str], readings: int) -> tuple[int, bytes]:
        """Keep lines as a new block; its number and its bytes as they are to be sent."""
        while True:
            self._last += 1
            data = f"# block {self._last:012d} {readings}\n{chr(10).join(lines)}\n".encode()
            unfinished = self.folder / f"{self._last:012d}.{os.getpid()}.part"
            unfinished.write_bytes(data)
            try:
                # A link, unlike a rename, fails when another process has taken the number.
                os.link(unfinished, self._path(self._last))
            except FileExistsError:
                continue
            finally:
                unfinished.unlink()
            return self._last, data

    def get(self, number: int) -> bytes | None:
        """The bytes of a block, or None when it is gone."""
        try:
            return self._path(number).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, number: int) -> None:
        """Forget a block that is known to be stored."""
        self._path(number).unlink(missing_ok=True)

    def numbers(self) -> list[int]:
        """The numbers of all blocks kept, oldest first."""
        return sorted(int(path.stem) for path in self.folder.glob("*.lp") if path.stem.isdigit())

    def readings(self) -> int:
        """How many readings lie here."""
        return sum(readings for number in self.numbers() for _, readings in blocks_in(self.get(number) or b""))

    def set_aside(self, line: str, reason: str) -> None:
        """Keep a line that the database will never take, with its reason, in `rejected.txt`."""
        with (self.folder / "rejected.txt").open("a", encoding="utf-8") as file:
            file.write(f"# {' '.join(reason.split())[:300]}\n{line}\n")

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.lp"
