"""Line protocol on disk: what was accepted and is not yet known to be in the database.

One file per block, `<number>.lp`, written whole under another name first. Its first line is a comment that says what
it holds: `# block <number> <readings> <lane>`. Numbers only rise while files are there, so their order is the order of
writing. Several processes may share a folder: a block that two of them send is stored once, since the same series and
time is the same reading. What a process was writing when it died was acknowledged to nobody and is swept away.

A block that the database has confirmed is kept a while longer as `<number>.sent` (`twin.telemetry.confirmed`).
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
        self._last = max([*self.numbers(), *self._numbers("*.sent")], default=0)

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
                # A link, unlike a rename, fails when another process has taken the number.
                os.link(unfinished, self._path(number))
            except FileExistsError:
                continue
            finally:
                unfinished.unlink(missing_ok=True)
            return Kept(number, readings, lane)

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
        self._path(number, "sent").unlink(missing_ok=True)

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
