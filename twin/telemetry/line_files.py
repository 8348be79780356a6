"""Line protocol in files, whole or still growing, as Telegraf's outputs.file writes them."""

from __future__ import annotations

from pathlib import Path

from twin.telemetry.growing import GrowingFiles
from twin.telemetry.lineprotocol import Precision, read
from twin.telemetry.samples import Read


class LineFiles(GrowingFiles):
    """One file of line protocol, or a folder of them."""

    kind = "lines"

    def __init__(self, name: str, path: str | Path, pattern: str = "*.lp", precision: Precision = "ns") -> None:
        super().__init__(name, path, pattern)
        self._precision = precision

    def said(self, path: Path, header: bytes, lines: bytes, first: int) -> Read:
        return read(lines, self._precision, None, first)
