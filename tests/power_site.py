"""The tiny site with a whole power chain: two UPS a rack, breakers, a substation, a generator on each feed."""

from __future__ import annotations

from pathlib import Path

TINY = (Path(__file__).resolve().parent.parent / "data/sites/tiny.toml").read_text()

CHAIN = """
[[pdu]]
hall = "lab/a"
racks = "r[01-02]"
breaker_kw = 4.0
a = "lab/a/ups"
b = "lab/b/ups"

[[pdu]]
hall = "lab/a"
racks = "r[03-04]"
breaker_kw = 20.0
a = "lab/a/ups"
b = "lab/feed-b"

[[generator]]
id = "lab/gen-a"
feeds = ["lab/feed-a"]
capacity_kw = 120.0

[[generator]]
id = "lab/gen-b"
feeds = ["lab/feed-b"]
capacity_kw = 120.0

[sag]
manual_reset_prob = 0.25
manual_reset_min = [5.0, 20.0]
"""


def text(*pairs: tuple[str, str]) -> str:
    """The file with the first occurrence of each text replaced."""
    out = TINY.replace("module_kw = 20.0", "module_kw = 30.0") + CHAIN
    for old, new in pairs:
        assert old in out, old
        out = out.replace(old, new, 1)
    return out
