"""Asking Slurm: its own commands with JSON, the one way in that every version and every site has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from plant.errors import SourceUnavailable

TIMEOUT_S = 10.0
# Settings of the person who starts the worker must not change what the commands say.
_PERSONAL = ("SQUEUE_", "SINFO_", "SCONTROL_", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_JSON", "SLURM_YAML")


class Commands:
    """Runs squeue, scontrol and sinfo; `conf` is a slurm.conf other than the machine's own."""

    def __init__(self, conf: str = "", timeout_s: float = TIMEOUT_S) -> None:
        own = {key: value for key, value in os.environ.items() if not key.startswith(_PERSONAL)}
        self._env: Mapping[str, str] = own | {"LC_ALL": "C.UTF-8"} | ({"SLURM_CONF": conf} if conf else {})
        self._timeout_s = timeout_s
        self._nodes_by: tuple[str, ...] | None = None

    def jobs(self) -> dict[str, Any]:
        """The answer of `squeue --json`. Raises SourceUnavailable."""
        return self._json("squeue", "--json")

    def nodes(self) -> dict[str, Any]:
        """The nodes as JSON by `scontrol`, or by `sinfo` where scontrol is too old. Raises SourceUnavailable."""
        if self._nodes_by is not None:
            return self._json(*self._nodes_by)
        newer, older = ("scontrol", "show", "nodes", "--json"), ("sinfo", "--json")
        try:
            told = self._json(*newer)
            self._nodes_by = newer
        except SourceUnavailable as problem:
            if "option" not in problem.found and "JSON" not in problem.found:
                raise
            told = self._json(*older)
            self._nodes_by = older
        return told

    def version(self) -> str:
        """What `sinfo --version` says, such as `slurm-wlm 22.05.8`. Raises SourceUnavailable."""
        return self._run("sinfo", "--version").strip()

    def config(self) -> dict[str, str]:
        """The running configuration by key. Raises SourceUnavailable."""
        pairs = (line.partition("=") for line in self._run("scontrol", "show", "config").splitlines())
        return {key.strip(): value.strip() for key, equals, value in pairs if equals}

    def profile_every_s(self) -> float:
        """Seconds between two samples of a task, 30 where Slurm does not say. Raises SourceUnavailable."""
        match = re.search(r"(?:task=)?(\d+)", self.config().get("JobAcctGatherFrequency", ""))
        return float(match[1]) if match and int(match[1]) > 0 else 30.0

    def _json(self, *words: str) -> dict[str, Any]:
        text = self._run(*words)
        try:
            told = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            found = f"no JSON but '{' '.join(text.split())[:80]}'"
            raise SourceUnavailable(" ".join(words), found, "Slurm 21.08 or newer, built with JSON") from None
        if not isinstance(told, dict):
            raise SourceUnavailable(" ".join(words), "JSON that is no table", "Slurm's own answer")
        errors = told.get("errors")
        if isinstance(errors, list) and errors:
            said = errors[0].get("error") if isinstance(errors[0], dict) else errors[0]
            raise SourceUnavailable(" ".join(words), str(said)[:160], "", "look at slurmctld's log")
        return told

    def _run(self, *words: str) -> str:
        where = " ".join(words)
        if shutil.which(words[0], path=self._env.get("PATH")) is None:
            raise SourceUnavailable(where, f"no {words[0]} here", "Slurm's commands", "install Slurm's client commands")
        try:
            done = subprocess.run(
                words, env=self._env, capture_output=True, timeout=self._timeout_s, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            found = f"no answer in {self._timeout_s:g} s"
            raise SourceUnavailable(where, found, "", "is slurmctld running and reachable?") from None
        except OSError as error:
            raise SourceUnavailable(where, str(error.strerror or error), "", "check the installation") from None
        if done.returncode != 0:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
            raise SourceUnavailable(where, lines[0][:160], "", "is slurmctld running and reachable?")
        return done.stdout.decode("utf-8", "replace")
