"""The error family: parts, one line a fault, and the way through a worker process."""

from __future__ import annotations

import pickle

from plant.errors import Fault, ForetwinError, SiteFileError


def test_errors_are_a_family_with_parts() -> None:
    error = SiteFileError("hall.toml: rack[0]", "no hall 'x'", "one of a b", "did you mean 'a'?")
    assert isinstance(error, ForetwinError)
    assert str(error) == "hall.toml: rack[0]: no hall 'x'; one of a b; did you mean 'a'?"
    assert error.as_dict() == {
        "where": "hall.toml: rack[0]",
        "found": "no hall 'x'",
        "allowed": "one of a b",
        "cure": "did you mean 'a'?",
    }
    several = SiteFileError(faults=[Fault("a", "1"), Fault("b", "2\n3")])
    assert str(several) == "a: 1\nb: 2 3"
    assert len(several.as_dict()["faults"]) == 2  # type: ignore[arg-type]
    again = pickle.loads(pickle.dumps(several))
    assert isinstance(again, SiteFileError)
    assert again.faults == several.faults
