"""A backup file: a tar of the folder of state with a manifest that knows every file's size and hash.

Names inside are relative, without `..`; a file is what its hash says or the whole archive is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from plant.errors import ConfigError

SCHEMA = 1
MANIFEST = "manifest.json"
SUFFIXES = (".tar", ".tar.gz", ".tgz")
CHUNK = 1 << 20
HOW = "take a backup with: foretwin backup FILE.tar"

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Member:
    """One file of an archive: its name relative to the folder of state, and where it lies now."""

    name: str
    path: Path


def compressed(file: Path) -> bool:
    """Whether a backup of this name is compressed; ConfigError for a name that says neither."""
    if not file.name.endswith(SUFFIXES):
        raise ConfigError(str(file), "not a name of a backup", f"a name ending in {' or '.join(SUFFIXES)}", HOW)
    return not file.name.endswith(".tar")


def pack(to: Path, members: Sequence[Member], about: dict[str, Any], told: Told) -> list[dict[str, Any]]:
    """Write an archive, whole or not at all; returns rows of name, bytes, sha256. A file that is gone is left out."""
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    rows: list[dict[str, Any]] = []
    try:
        with tarfile.open(part, "w:gz" if compressed(to) else "w", format=tarfile.PAX_FORMAT) as tar:
            for n, member in enumerate(members):
                row = _add(tar, member)
                rows += [row] if row else []
                told(n + 1, len(members))
            text = json.dumps({"schema": SCHEMA, **about, "files": rows}, indent=1).encode()
            info = tarfile.TarInfo(MANIFEST)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _add(tar: tarfile.TarFile, member: Member) -> dict[str, Any] | None:
    """Add a file as it is at this moment: read once, so that size, hash and content agree."""
    try:
        file = member.path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        file.seek(0)
        info = tarfile.TarInfo(member.name)
        info.size, info.mode = size, 0o600
        tar.addfile(info, file)
    return {"name": member.name, "bytes": size, "sha256": digest}


def unpack(archive: Path, to: Path, told: Told) -> dict[str, Any]:
    """Unpack an archive into an empty folder and check every file; returns the manifest. Raises ConfigError."""
    if not archive.is_file():
        raise ConfigError(str(archive), "no such file", "a backup", HOW)
    try:
        with tarfile.open(archive, "r:*") as tar:
            found = _members(archive, tar, to, told)
    except (tarfile.TarError, EOFError, OSError) as error:
        # the archive's own place is in no error of writing, and a broken gzip has no number
        if isinstance(error, OSError) and error.errno and error.filename != str(archive):
            cure = "check its permissions and free space; the state is as it was"
            found = f"cannot be written: {error.strerror}"
            raise ConfigError(str(error.filename or to), found, "a folder with room", cure) from error
        raise _damaged(archive, f"cannot be read: {error}") from error
    manifest = found.pop(MANIFEST, None)
    if manifest is None:
        raise _damaged(archive, f"holds no {MANIFEST}")
    told_of = {row["name"]: row for row in manifest["files"]}
    if wrong := sorted(name for name in told_of.keys() | found.keys() if found.get(name) != told_of.get(name)):
        raise _damaged(archive, f"{wrong[0]} is missing, strange or changed ({len(wrong)} such files)")
    return dict(manifest)


def _members(archive: Path, tar: tarfile.TarFile, to: Path, told: Told) -> dict[str, Any]:
    """Write every file of a tar below a folder; name -> row as in the manifest, MANIFEST -> the manifest itself."""
    found: dict[str, Any] = {}
    size = max(1, archive.stat().st_size)
    for info in tar:
        file = tar.extractfile(info) if info.isreg() else None
        name = PurePosixPath(info.name)
        if file is None or name.is_absolute() or ".." in name.parts:
            raise _damaged(archive, f"holds {info.name!a}, which is no plain file of a folder of state")
        if info.name == MANIFEST:
            found[MANIFEST] = _manifest(archive, file.read())
            continue
        path = to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("wb") as out:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        found[info.name] = {"name": info.name, "bytes": info.size, "sha256": digest.hexdigest()}
        told(min(info.offset_data + info.size, size), size)
    return found


def _manifest(archive: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
        schema, files = manifest["schema"], manifest["files"]
        sound = all({"name", "bytes", "sha256"} <= row.keys() for row in files) and isinstance(schema, int)
    except (ValueError, KeyError, TypeError, AttributeError):
        sound, schema = False, 0
    if not sound:
        raise _damaged(archive, "holds a manifest that cannot be read")
    if schema > SCHEMA:
        raise ConfigError(str(archive), f"backup of schema {schema}", f"schema up to {SCHEMA}", "update this Foretwin")
    return dict(manifest)


def _damaged(archive: Path, found: str) -> ConfigError:
    return ConfigError(str(archive), found, "a backup as foretwin wrote it", HOW)
