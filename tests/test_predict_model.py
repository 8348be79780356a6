"""The network: NumPy equals torch, weights are only arrays, a changed file is refused, training learns a plain law."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from synthetic import START_MS, Airlock, plain_site, ticks

from plant.errors import ModelNotTrained
from predict.encoder import SHAPES, Encoder, sigmoid
from predict.features import INPUTS, MOMENT
from predict.histories import History, from_batch, from_store, samples
from predict.registry import CARD, WEIGHTS, load, newest, save
from predict.survival import HORIZONS_S, fail_prob
from predict.train import Trained, TrainSettings, hazards_of, natural_weight, train, write
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.store import Batch

KINDS = ("chiller", "loop")
ROOT = __file__.rsplit("/", 2)[0]


def weights(seed: int = 0, hidden: int = 8, kinds: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    size = {"x": INPUTS, "h": hidden, "4h": 4 * hidden, "e": 3, "kinds": kinds, "k": len(HORIZONS_S)}
    size["h+e+s"] = hidden + 3 + MOMENT
    return {name: 0.3 * rng.standard_normal([size[axis] for axis in axes]) for name, axes in SHAPES.items()}


def stored(tmp_path):
    card = {"class": "cooling", "kinds": list(KINDS), "horizons_s": list(HORIZONS_S), "trained_at": "2026-01-01"}
    return save(tmp_path, weights() | {"calibration": np.array([[1.0, 0.0], [1.0, 0.0]])}, card)


TOLD = Path(__file__).parent / "data" / "hazards_of_torch.json"


def example() -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]:
    """Weights and five windows; what torch makes of them stands in TOLD (written by running this file)."""
    rng = np.random.default_rng(1)
    window, moment = rng.standard_normal((30, 5, INPUTS)), rng.standard_normal((5, MOMENT))
    return weights(kinds=3), (window, rng.integers(0, 3, 5), moment)


def by_torch() -> np.ndarray:
    torch = pytest.importorskip("torch")
    from predict.model import HazardNet

    arrays, inputs = example()
    net = HazardNet(INPUTS, MOMENT, 3, len(HORIZONS_S), hidden=8, embed=3).to(torch.float64)
    net.load_state_dict({name: torch.as_tensor(value) for name, value in arrays.items()})
    with torch.no_grad():
        return torch.sigmoid(net(*(torch.as_tensor(x) for x in inputs))).numpy()


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-9), (np.float32, 1e-6)])
def test_numpy_gives_what_torch_gave(dtype, within):
    arrays, (window, kind, moment) = example()
    found = sigmoid(Encoder(arrays, dtype).logits(window.astype(dtype), kind, moment.astype(dtype)))
    assert np.abs(found - json.loads(TOLD.read_text())).max() < within


@pytest.mark.slow
def test_torch_still_gives_what_it_gave():
    assert by_torch() == pytest.approx(np.array(json.loads(TOLD.read_text())), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numpy_gives_what_torch_gives(dtype):
    torch = pytest.importorskip("torch")
    from predict.model import HazardNet

    torch.manual_seed(0)
    net = HazardNet(INPUTS, MOMENT, 3, len(HORIZONS_S), hidden=16).to(
        torch.float64 if dtype is np.float64 else torch.float32
    )
    rng = np.random.default_rng(1)
    window, moment = (
        rng.standard_normal((30, 50, INPUTS)).astype(dtype),
        rng.standard_normal((50, MOMENT)).astype(dtype),
    )
    kind = rng.integers(0, 3, 50)
    with torch.no_grad():
        expected = torch.sigmoid(net(*(torch.as_tensor(x) for x in (window, kind, moment)))).numpy()
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    found = sigmoid(Encoder(arrays, dtype).logits(window, kind, moment))
    assert np.abs(found - expected).max() < 1e-6


def test_scoring_never_imports_torch():
    code = "import sys, predict.score, predict.registry, predict.alarms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_one_row_alone_gives_what_it_gives_among_others():
    encoder = Encoder(weights(), np.float64)
    rng = np.random.default_rng(2)
    window, moment, kind = rng.standard_normal((5, 9, INPUTS)), rng.standard_normal((9, MOMENT)), np.arange(9) % 2
    together = encoder.logits(window, kind, moment)
    alone = encoder.logits(window[:, 4:5], kind[4:5], moment[4:5])
    assert alone[0] == pytest.approx(together[4], abs=1e-12)


# --- on disk ------------------------------------------------------------------------------------


def test_a_model_comes_back_as_it_was_saved(tmp_path):
    folder = stored(tmp_path)
    model = load(folder, np.float64)
    assert model.kinds == KINDS
    assert folder.name == model.card["sha256"][:16]
    assert newest(tmp_path).version == model.version
    x = np.ones((3, 2, INPUTS)), np.array([0, 1]), np.ones((2, MOMENT))
    assert model.encoder.logits(*x) == pytest.approx(Encoder(weights(), np.float64).logits(*x), abs=1e-5)


def test_the_same_weights_are_the_same_bytes(tmp_path):
    assert (stored(tmp_path / "a") / WEIGHTS).read_bytes() == (stored(tmp_path / "b") / WEIGHTS).read_bytes()
    stored(tmp_path / "a")
    assert len(list((tmp_path / "a" / "cooling").iterdir())) == 1


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def replace_weights(folder, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    card = json.loads((folder / CARD).read_text()) | {"sha256": sha256(content).hexdigest()}
    (folder / CARD).write_text(json.dumps(card))


def archive(arrays: dict, pickled: bool = False) -> bytes:
    out = io.BytesIO()
    np.savez(out, allow_pickle=pickled, **arrays)
    return out.getvalue()


def with_pickle_member() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("lstm.weight_ih_l0.npy", pickle.dumps(Bomb()))
    return out.getvalue()


FULL = {**weights(), "calibration": np.ones((2, 2))}
BAD = {
    "a bare pickle": pickle.dumps(Bomb()),
    "a pickle in the archive": with_pickle_member(),
    "an object array": archive({**FULL, "head.bias": np.array([Bomb()], object)}, pickled=True),
    "not a number": archive({**FULL, "head.bias": np.full(len(HORIZONS_S), np.nan)}),
    "a wrong shape": archive({**FULL, "head.bias": np.zeros(3)}),
    "an array missing": archive({name: array for name, array in FULL.items() if name != "kind.weight"}),
    "nothing": b"",
    "a plain array": (lambda out: (np.save(out, np.ones(3)), out.getvalue())[1])(io.BytesIO()),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_weights_that_are_not_the_networks_arrays_are_refused_even_with_the_right_hash(tmp_path, content):
    folder = stored(tmp_path)
    replace_weights(folder, content)
    with pytest.raises(ModelNotTrained, match="foretwin train"):
        load(folder)


def test_a_changed_file_is_refused(tmp_path):
    folder = stored(tmp_path)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[200] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))
    with pytest.raises(ModelNotTrained, match="sha256"):
        load(folder)


@pytest.mark.parametrize("change", [{"format": 99}, {"horizons_s": [60]}, {"kinds": ["loop"]}])
def test_a_card_of_another_make_is_refused(tmp_path, change):
    folder = stored(tmp_path)
    (folder / CARD).write_text(json.dumps(json.loads((folder / CARD).read_text()) | change))
    with pytest.raises(ModelNotTrained):
        load(folder)


def test_an_absent_or_broken_card_is_one_clear_line(tmp_path):
    assert newest(tmp_path) is None
    with pytest.raises(ModelNotTrained, match="no such file"):
        load(tmp_path)
    (tmp_path / CARD).write_text("{")
    with pytest.raises(ModelNotTrained, match="JSON"):
        load(tmp_path)
    (tmp_path / CARD).write_text("{}")
    with pytest.raises(ModelNotTrained, match="keys are missing"):
        load(tmp_path)


# --- training -----------------------------------------------------------------------------------


def story(seed: int, airlock: Airlock | None, hours: float) -> list[History]:
    site = plain_site(racks=1, units=1)
    readings = Batch.joined([batch for _, batch in ticks(site, hours, seed, airlock)])
    failed = {}
    if airlock:
        failed = {"s/h0/loop": START_MS + int(airlock.trip_s * 1000)}
    found = from_batch(readings, site, START_MS + int(hours * 3.6e6), failed)
    return [history for history in found if history.kind in KINDS]


@pytest.fixture(scope="module")
def histories() -> list[History]:
    out = []
    for seed in range(6):
        airlock = Airlock(1500.0 + 300 * seed, 1800.0) if seed % 2 == 0 else None
        out += story(seed, airlock, airlock.trip_s / 3600 if airlock else 2.0)
    return out


def test_histories_of_a_store_are_those_of_its_readings(histories):
    site = plain_site(racks=1, units=1)
    store = MemoryStore()
    readings = Batch.joined([batch for _, batch in ticks(site, 0.2, 0)])
    store.write(readings)
    end_ms = START_MS + 720_000
    one = {h.component: h for h in from_store(store, site, 0, end_ms, {"s/h0/loop": end_ms})}
    two = {h.component: h for h in from_batch(readings, site, end_ms, {})}
    assert one.keys() == two.keys()
    for name, history in one.items():
        assert np.array_equal(history.values, two[name].values, equal_nan=True)
    assert one["s/h0/loop"].event_ms == end_ms


def test_nothing_from_the_failure_on_reaches_a_sample(histories):
    cut = samples(histories, KINDS)
    changed = []
    for h in histories:
        values = h.values.copy()
        values[h.times_ms >= h.end_ms] = 1e6
        changed.append(History(h.kind, h.component, h.times_ms, values, h.event_ms, h.censor_ms))
    again = samples(changed, KINDS)
    assert np.array_equal(cut.window, again.window)
    assert (cut.censor_s > 0).all()
    assert (np.isnan(cut.event_s) | (cut.event_s > 0)).all()


def test_failing_windows_weigh_what_they_weigh_in_nature(histories):
    from predict.baselines import BASE_RATES

    cut = samples(histories, KINDS)
    weight = natural_weight(cut, histories, ("chiller", "loop"))
    loop = cut.kind == 1
    failing = np.array([h.event_ms is not None for h in histories])[cut.history]
    # each failure is worth one over (rate x quiet hours) of what the quiet hours are worth
    share = weight[loop & failing].sum() / cut.span_s[loop & failing].sum()
    quiet = weight[loop & ~failing].sum() / cut.span_s[loop & ~failing].sum()
    hours = cut.span_s[loop & ~failing].sum() / 3600.0
    assert share / quiet == pytest.approx(BASE_RATES["loop"].mean_per_h * hours / 3, rel=1e-6)


def written(trained: Trained, folder: Path) -> dict:
    folder = write(trained, folder, command="c", seed=0, site="plain", trained_at="2026-01-01T00:00:00Z")
    return load(folder).card


@pytest.mark.slow
def test_training_learns_a_plain_precursor_and_writes_a_card_that_says_simulated(histories, tmp_path):
    pytest.importorskip("torch")
    trained = train(histories, TrainSettings(hidden=8, epochs=20, batch=64, rate=0.02))
    cut = samples([history for history in histories if history.kind == "loop"], ("loop",))
    table = np.asarray(trained.arrays["calibration"], float)
    p = fail_prob(hazards_of(trained.arrays, cut, table))[:, HORIZONS_S.index(3600)]
    soon = np.isfinite(cut.event_s) & (cut.event_s < 900)
    assert np.median(p[soon]) > 100 * np.median(p[np.isnan(cut.event_s)])
    card = written(trained, tmp_path)
    assert card["simulated"] is True
    assert card["data"] == "emulated"
    assert card["counts"]["failures"] == {"loop": 3}


def test_the_card_of_what_was_trained_says_simulated(tmp_path):
    arrays = weights(kinds=1) | {"calibration": np.array([[1.0, 0.0]])}
    card = written(Trained(arrays, {"failures": {"loop": 3}}), tmp_path)
    assert (card["simulated"], card["data"], card["kinds"]) == (True, "emulated", ["loop"])


def test_histories_without_a_failure_cannot_train():
    with pytest.raises(ModelNotTrained, match="no failure"):
        train([History("loop", "l", np.array([0]), np.zeros((1, 4)), None, 1)])


if __name__ == "__main__":
    TOLD.write_text(json.dumps(by_torch().tolist()) + "\n")
