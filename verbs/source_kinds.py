"""Which reader a `[sources.NAME]` table of the settings means, and which shipped mapping serves it by default."""

from __future__ import annotations

from collections.abc import Mapping as Table

from plant.errors import ConfigError
from twin.telemetry.mapping import Mapping, load_mapping
from twin.telemetry.mappingfile import MappingFile
from twin.telemetry.sources import Source
from twin.telemetry.tables import words_of
from verbs.settings_sources import SourceTable
from verbs.stores import SCHEMES

EXPORTERS = ("builtin:dcgm", "builtin:node_exporter")
SHIPPED = {
    "influx": ("builtin:telegraf", *EXPORTERS),
    "lines": ("builtin:telegraf", *EXPORTERS),
    "nut": ("builtin:telegraf",),
    "prometheus": EXPORTERS,
    "slurm_profile": ("builtin:slurm_profile",),
    "csv": (),
    "parquet": (),
}
PATTERNS = {"lines": "*.lp", "csv": "*.csv", "parquet": "*.parquet"}


def opened(name: str, table: SourceTable, mapping: Mapping, history_h: float = 1.0) -> Source:
    """The reader of one source; nothing is asked yet. history_h: how far back an InfluxDB is read at the start [h].

    mapping: names the columns of tables.

    Raises ConfigError where a token's file has become unreadable.
    """
    try:
        token = table.secret()
    except OSError as error:
        raise ConfigError(f"sources.{name}.token_file", str(error), "a readable file", "correct the path") from None
    if table.kind == "influx":
        from twin.telemetry.influx_source import InfluxSource

        return InfluxSource(
            name,
            str(table.url),
            str(table.database),
            token,
            scheme=SCHEMES[table.auth],
            only=table.only,
            history_ms=round(history_h * 3_600_000),
            late_ms=round(table.late_s * 1000),
            timeout_s=table.timeout_s,
        )
    if table.kind == "prometheus":
        from twin.telemetry.scrape import ScrapeSource

        return ScrapeSource(
            name, table.urls(), only=table.only, token=token, timeout_s=table.timeout_s, ca_file=table.ca_file
        )
    if table.kind == "slurm_profile":
        return _slurm_profile(name, table, token, history_h)
    if table.kind == "nut":
        from twin.telemetry.nut import PORT, NutSource

        host, port = table.server()
        return NutSource(name, host, port or PORT, table.units, table.timeout_s)
    return _files(name, table, mapping)


def _slurm_profile(name: str, table: SourceTable, token: str, history_h: float) -> Source:
    from scheduler.slurm_commands import Commands
    from scheduler.slurm_profile import SlurmProfile
    from scheduler.slurm_source import SlurmProfileSource

    profile = SlurmProfile(
        str(table.url), str(table.database), token, every_s=table.every_s or 30.0, timeout_s=table.timeout_s
    )
    history_ms = round(history_h * 3_600_000)
    return SlurmProfileSource(
        name, profile, Commands(table.conf or ""), history_ms=history_ms, ask_interval=table.every_s is None
    )


def _files(name: str, table: SourceTable, mapping: Mapping) -> Source:
    path, pattern = str(table.path), table.pattern or PATTERNS[table.kind]
    if table.kind == "lines":
        from twin.telemetry.line_files import LineFiles

        return LineFiles(name, path, pattern, table.precision)
    from twin.telemetry.table_files import CsvFiles, ParquetFiles

    if table.kind == "csv":
        words = words_of(list(mapping.sources.values()) or [mapping.source])
        return CsvFiles(name, path, mapping.source_of, words, pattern)
    return ParquetFiles(name, path, mapping.source_of, pattern)


def mapping_of(table: SourceTable, kind_of: Table[str, str] | None) -> Mapping:
    """The mapping of a source: its own, or the shipped rules for its kind; for tables all names are ours already.

    kind_of: component id -> kind of the site. Raises ConfigError for a faulty file.
    """
    if table.mapping is not None:
        return load_mapping(table.mapping, kind_of)
    return Mapping(MappingFile(include=SHIPPED[table.kind]), kind_of)
