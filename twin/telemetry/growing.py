"""Files of lines that may still grow: one file, or all of a folder, read on from where the last reading ended.

A growing file is held open, so that its rest is still read after it was renamed away. A last line without its line
break waits until the file has rested: it may be half of one.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from plant.errors import SourceUnavailable
from twin.telemetry.samples import BadRow, Gathered, Read, joined, no_samples
from twin.telemetry.sources import Mark

BLOCK_BYTES = 8 * 1024 * 1024
REST_MS = 30_000
MOST_FILES = 10_000
KEPT_OPEN = 64
HEAD_BYTES = 64


@dataclass(slots=True)
class _File:
    """A file being read: its next byte, the number of the line that starts there, how the file begins and what was
    read last: a file in which either is another was written anew.

    Of the files that rest, all read, most are closed; `seen` is size and time [ns] of change when that was so.
    """

    path: Path
    at: int = 0
    line: int = 1
    head: bytes = b""
    header: bytes = b""
    last: bytes = b""
    fd: int | None = None
    gone: bool = False
    seen: tuple[int, int] = (-1, -1)

    def open(self) -> int:
        """The descriptor, opened if need be. Raises SourceUnavailable."""
        if self.fd is None:
            try:
                self.fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                cure = "check its rights"
                raise SourceUnavailable(str(self.path), f"cannot be read: {error.strerror}", cure=cure) from error
        return self.fd

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class GrowingFiles(ABC):
    """`path` is a file, or a folder whose files fit `pattern`; they are told apart by inode, not by name.

    What whole lines mean is said by `said`, which each kind of file has its own of.
    """

    kind = ""
    has_header = False

    def __init__(self, name: str, path: str | Path, pattern: str) -> None:
        self.name, self._path, self._pattern = name, Path(path), pattern
        self._files: dict[str, _File] = {}
        self._resumed: Mark = {}

    @abstractmethod
    def said(self, path: Path, header: bytes, lines: bytes, first: int) -> Read:
        """What whole lines of a file mean; `first` is the number of the first of them. Never raises."""

    def poll(self, now_ms: int) -> Read:
        reads: list[Read] = []
        left, held, failed = BLOCK_BYTES, 0, None
        for file in self._look():
            try:
                while left > 0 and (taken := self._take(file, now_ms, reads)):
                    left -= taken
                held += file.fd is not None
                if held > KEPT_OPEN and file.seen[0] == file.at:
                    file.close()
            except SourceUnavailable as error:
                failed = error
        if failed is not None and not reads:
            raise failed
        if failed is not None:
            reads.append(Read(no_samples(), (BadRow(Path(failed.where).name, failed.found),)))
        return joined(reads, more=left <= 0)

    def _look(self) -> list[_File]:
        """All files to look at, by name; one that is gone is looked at once more, then forgotten."""
        there, states = {}, {}
        for path in files_of(self._path, self._pattern):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue  # gone since it was listed
            there[_key(state)], states[_key(state)] = path, (state.st_size, state.st_mtime_ns)
        for key in [key for key, file in self._files.items() if file.gone and key not in there]:
            self._files.pop(key).close()
        for key, file in self._files.items():
            file.gone = key not in there
        for key, path in there.items():
            if key not in self._files:
                self._files[key] = self._begun(key, path)
            self._files[key].path = path
        self._resumed = {}
        order = sorted(self._files.items(), key=lambda one: (not one[1].gone, one[1].path))
        # closed means all of it read: it is looked into again when it has changed
        return [file for key, file in order if file.fd is not None or states.get(key, file.seen) != file.seen]

    def _begun(self, key: str, path: Path) -> _File:
        """A file seen for the first time, or known from a mark."""
        try:
            at, line, *parts = self._resumed.pop(key, (0, 1, "", "", ""))
            head, header, last = map(bytes.fromhex, parts)
            return _File(path, int(at), int(line), head, header, last)
        except (TypeError, ValueError):
            return _File(path)

    def _take(self, file: _File, now_ms: int, reads: list[Read]) -> int:
        """How many bytes were taken; what they say goes to `reads`. Whole lines only."""
        fd = file.open()
        state = os.fstat(fd)
        # pread asks the file itself: a buffer would show what a cut file held before
        head = os.pread(fd, HEAD_BYTES, 0)
        notes = Gathered()
        last = os.pread(fd, len(file.last), max(0, file.at - len(file.last)))
        if state.st_size < file.at or not head.startswith(file.head) or last != file.last:
            notes.bad.append(BadRow(file.path.name, "was cut short or written anew; it is read from its start"))
            file.at, file.line, file.last = 0, 1, b""
        file.head = head
        data = os.pread(fd, BLOCK_BYTES, file.at)
        rested = now_ms - state.st_mtime_ns // 1_000_000 > REST_MS
        end = data.rfind(b"\n") + 1
        if data and not end and (len(data) == BLOCK_BYTES or rested or file.gone):
            end = len(data)  # a line without an end, or the last one of a file that is finished
        if end:
            self._say(file, data[:end], notes, reads)
        if notes.bad:
            reads.append(notes.read())
        file.seen = (state.st_size, state.st_mtime_ns)
        return end

    def _say(self, file: _File, lines: bytes, notes: Gathered, reads: list[Read]) -> None:
        """Whole lines of a file into `reads`, what is wrong with them into `notes`; the file stands behind them."""
        at, first = 0, file.line
        if self.has_header and file.at == 0:
            at = lines.find(b"\n") + 1 or len(lines)
            file.header, first = lines[:at], first + 1
        got = self.said(file.path, file.header, lines[at:], first)
        notes.bad += [BadRow(f"{file.path.name} {row.where}", row.why, row.said) for row in got.bad]
        reads.append(Read(got.samples))
        file.last = lines[-HEAD_BYTES:]
        file.at += len(lines)
        file.line += lines.count(b"\n")

    def mark(self) -> Mark:
        def known(file: _File) -> list[int | str]:
            return [file.at, file.line, file.head.hex(), file.header.hex(), file.last.hex()]

        return self._resumed | {key: known(file) for key, file in self._files.items()}

    def resume(self, mark: Mark) -> None:
        self._resumed = dict(mark)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def files_of(path: Path, pattern: str) -> list[Path]:
    """The file itself, or the files of a folder that fit, by name. Raises SourceUnavailable when there is nothing."""
    try:
        if not path.is_dir():
            if not path.is_file():
                os.stat(path)
                raise SourceUnavailable(str(path), "is no file", "a file or a folder", "correct path")
            return [path]
        found = sorted(one for one in path.iterdir() if fnmatchcase(one.name, pattern) and one.is_file())
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceUnavailable(str(path), f"cannot be read: {reason}", "a file or a folder", "correct path") from error
    if len(found) > MOST_FILES:
        limit = f"at most {MOST_FILES}"
        raise SourceUnavailable(str(path), f"{len(found)} files fit {pattern}", limit, "move old ones away")
    return found


def _key(state: os.stat_result) -> str:
    return f"{state.st_dev}:{state.st_ino}"
