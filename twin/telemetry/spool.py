"""Line protocol on disk: what was accepted and is not yet known to be in the database.

One file per block, `<number>.lp`, written whole under another name first. Its first line is a comment that says what
it holds: `# block <number> <readings> <lane>`. Numbers only rise while files are there, so their order is the order of
writing. Several processes may share a folder: a block that two of them send is stored once, since the same series and
time is the same reading. What a process was writing when it died was acknowledged to nobody and is swept away.

A block that the database has confirmed is kept a while longer as `<number>.sent` (`twin.telemetry.confirmed`); a line
in `<number>.mark` is one by which it is asked for, `<number>.open` says that all from it on is being sent again.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_HEAD = re.compile(rb"# block (\d{12}) (\d+)(?: (\d+))?\n")
_LONGEST_HEAD = 80

# `rejected.txt` is kept to this size; the older half then stands in `rejected.old.txt`.
REJECTED_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """A block that lies in the spool: its number, how many readings it holds, its lane."""

    number: int
    readings: int
    lane: int = 0


def body_of(data: bytes) -> bytes:
    """The lines of a block's file, without the comment in front."""
    head = _HEAD.match(data)
    return data[head.end() :] if head else data


class Spool:
    """A folder of blocks. Nothing here talks to a database."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._last = self._newest()

    def put(self, data: bytes, readings: int, lane: int = 0) -> Kept:
        """Keep lines as a new block. Raises OSError (a full disk, say); then nothing is kept."""
        while True:
            self._last += 1
            number = self._last
            unfinished = self.folder / f"{number:012d}.{os.getpid()}.part"
            try:
                with unfinished.open("wb") as file:
                    file.write(b"# block %012d %d %d\n" % (number, readings, lane))
                    file.write(data)
                # A link, unlike a rename, fails when another process has taken the number,
                os.link(unfinished, self._path(number))
            except FileExistsError:
                self._last = self._newest()
                continue
            finally:
                unfinished.unlink(missing_ok=True)
            # but not when that one's block is confirmed already: ours would take its place one day.
            if not self._path(number, "sent").exists():
                return Kept(number, readings, lane)
            self._path(number).unlink(missing_ok=True)
            self._last = self._newest()

    def get(self, number: int) -> bytes | None:
        """The lines of a block, or None when it is gone."""
        try:
            return body_of(self._path(number).read_bytes())
        except FileNotFoundError:
            return None

    def drop(self, number: int) -> None:
        """Forget a block that is known to be stored."""
        self._path(number).unlink(missing_ok=True)

    def confirm(self, number: int) -> None:
        """Keep a block as one that the database has confirmed."""
        with suppress(FileNotFoundError):
            self._path(number).rename(self._path(number, "sent"))

    def forget(self, number: int) -> None:
        """Forget a block that the database had confirmed."""
        for ending in ("sent", "mark", "open"):
            self._path(number, ending).unlink(missing_ok=True)

    def put_mark(self, number: int, line: bytes) -> None:
        """Remember a line with a confirmed block; forget it where it is empty."""
        if line:
            self._path(number, "mark").write_bytes(line)
        else:
            self._path(number, "mark").unlink(missing_ok=True)

    def mark(self, number: int) -> bytes:
        """What put_mark remembers, empty where nothing is."""
        try:
            return self._path(number, "mark").read_bytes()
        except FileNotFoundError:
            return b""

    def set_open(self, among: set[int], number: int | None) -> None:
        """Say of this block that all from it on is being sent again, and of no other among these."""
        if number is not None:
            self._path(number, "open").touch()
        for other in self.opened():
            if other in among and other != number:
                self._path(other, "open").unlink(missing_ok=True)

    def opened(self) -> list[int]:
        """The blocks of which set_open says so, oldest first."""
        return self._numbers("*.open")

    def get_sent(self, number: int) -> bytes | None:
        """The lines of a confirmed block, or None when it is gone."""
        try:
            return body_of(self._path(number, "sent").read_bytes())
        except FileNotFoundError:
            return None

    def sent_size(self, number: int) -> int:
        """Bytes of a confirmed block, 0 when it is gone."""
        try:
            return self._path(number, "sent").stat().st_size
        except FileNotFoundError:
            return 0

    def numbers(self) -> list[int]:
        """The numbers of all blocks that wait, oldest first."""
        return self._numbers("*.lp")

    def kept(self) -> list[Kept]:
        """All blocks that wait, oldest first; only their heads are read."""
        return self._kept("lp")

    def sent(self) -> list[Kept]:
        """All confirmed blocks that are kept, oldest first; only their heads are read."""
        return self._kept("sent")

    def _newest(self) -> int:
        return max([*self.numbers(), *self._numbers("*.sent")], default=0)

    def _numbers(self, pattern: str) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob(pattern) if path.stem.isdigit())

    def _kept(self, ending: str) -> list[Kept]:
        found = []
        for number in self._numbers(f"*.{ending}"):
            try:
                with self._path(number, ending).open("rb") as file:
                    head = _HEAD.match(file.read(_LONGEST_HEAD))
            except FileNotFoundError:
                continue
            found.append(Kept(number, int(head[2]), int(head[3] or 0)) if head else Kept(number, 0))
        return found

    def readings(self) -> int:
        """How many readings lie here."""
        return sum(block.readings for block in self.kept())

    def set_aside(self, line: str, reason: str) -> None:
        """Keep a line that the database will never take, with its reason, in `rejected.txt`."""
        path = self.folder / "rejected.txt"
        if path.exists() and path.stat().st_size > REJECTED_BYTES:
            path.replace(path.with_name("rejected.old.txt"))
        with path.open("a", encoding="utf-8") as file:
            file.write(f"# {' '.join(reason.split())[:300]}\n{line}\n")

    def _sweep(self) -> None:
        """Remove what processes that are gone had not finished writing."""
        for path in self.folder.glob("*.part"):
            writer = path.suffixes[0].lstrip(".") if len(path.suffixes) == 2 else ""
            if writer.isdigit() and not Path(f"/proc/{writer}").exists():
                path.unlink(missing_ok=True)

    def _path(self, number: int, ending: str = "lp") -> Path:
        return self.folder / f"{number:012d}.{ending}"
