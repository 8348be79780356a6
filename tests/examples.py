"""How many examples a law is tried on: all that its test asks for in `make test-all`, a third in the default run."""

from __future__ import annotations

import os


def examples(full: int) -> int:
    """Examples for a law whose full number is not that of the profile (tests/conftest.py)."""
    return full if os.environ.get("HYPOTHESIS_PROFILE", "house") != "house" else -(-full // 3)
