"""Laws of faults and repair: acceleration, competing kinds, warnings, lemons, crews; closed forms; bad files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from plant import faults, precursor, repair
from plant.checkpoint import daly_s, young_daly_s
from plant.errors import ConfigError
from plant.faultbuild import YEAR_S, compile_faults
from plant.faultfile import FaultsTable, load_faults
from plant.files import DATA
from plant.queueing import mean_wait_s
from plant.site import load_site
from verbs import fault_explain

LAWS = compile_faults(FaultsTable(), load_faults("ai-cluster"), [8, 0])
TEXT = (DATA / "faults" / "ai-cluster.toml").read_text(encoding="utf-8")
KIND = {name: k for k, name in enumerate(LAWS.kinds)}
temperatures = st.floats(5.0, 60.0)
loads = st.floats(0.0, 1.0)


def test_at_reference_the_rates_are_those_of_the_table():
    for c in range(len(LAWS.doublings_per_k)):
        assert faults.acceleration(np.array(LAWS.inlet_c), LAWS.load_frac, LAWS, c) == pytest.approx(1.0)
    assert faults.wear(LAWS.reference_age_s, LAWS) == pytest.approx(np.ones(len(LAWS.kinds)))
    gpu = load_faults("ai-cluster").kind[KIND["gpu"]]
    assert LAWS.type_rate_per_s[0, KIND["gpu"]] * YEAR_S == pytest.approx(8 * gpu.rate_per_y)
    assert LAWS.type_rate_per_s[1, KIND["gpu"]] == 0.0
    assert LAWS.type_rate_per_s[1, KIND["fan"]] == LAWS.type_rate_per_s[0, KIND["fan"]]


def test_a_node_of_eight_gpus_is_interrupted_as_often_as_four_sources_say():
    first = LAWS.type_rate_per_s[0]
    every = (first * (1.0 + LAWS.beta * LAWS.struck_mean)).sum() / (1.0 - LAWS.p_repair_fails)
    assert 2.0 < every * 86_400.0 * 1000.0 < 7.0  # per 1,000 node-days (notes/predict.md 2)


@given(temperatures, temperatures, loads, loads)
def test_more_heat_or_load_never_lowers_a_hazard(t1, t2, u1, u2):
    for c in range(len(LAWS.doublings_per_k)):
        cool = faults.acceleration(np.array(min(t1, t2)), min(u1, u2), LAWS, c)
        assert faults.acceleration(np.array(max(t1, t2)), max(u1, u2), LAWS, c) >= cool * (1.0 - 1e-12)


def test_ten_kelvin_double_the_hazard_of_electronics_and_none_of_software():
    gpu, soft = LAWS.kind_class[KIND["gpu"]], LAWS.kind_class[KIND["software"]]
    warm = np.array(LAWS.inlet_c + 10.0)
    assert faults.acceleration(warm, LAWS.load_frac, LAWS, gpu) == pytest.approx(2.0)
    assert faults.acceleration(warm, LAWS.load_frac, LAWS, soft) == 1.0


def test_fans_wear_out_and_others_do_not():
    old = faults.wear(4.0 * LAWS.reference_age_s, LAWS)
    assert old[KIND["fan"]] == pytest.approx(4.0**1.5)
    assert old[KIND["psu"]] == 1.0


def test_competing_kinds_are_chosen_in_proportion():
    rates = np.tile([3.0, 0.0, 1.0], (40_000, 1))
    chosen = faults.choose(rates, (np.arange(40_000) + 0.5) / 40_000)
    assert np.bincount(chosen, minlength=3).tolist() == [30_000, 0, 10_000]


def test_lemons_leave_the_average_as_it_is():
    good, lemon = faults.lemon_scale(LAWS)
    assert lemon / good == pytest.approx(LAWS.lemon_factor)
    assert (1.0 - LAWS.lemon_frac) * good + LAWS.lemon_frac * lemon == pytest.approx(1.0)


def test_class_rates_add_up():
    total = faults.class_rates(LAWS.type_rate_per_s, LAWS)
    assert total.sum(axis=1) == pytest.approx(LAWS.type_rate_per_s.sum(axis=1))


# --- warnings -------------------------------------------------------------------------------------


def test_leads_follow_their_law():
    rng = np.random.default_rng(1)
    kind = np.full(60_000, KIND["psu"])
    lead = precursor.lead_s(LAWS, kind, rng.random(60_000), rng.normal(size=60_000))
    assert (lead == 0.0).mean() == pytest.approx(LAWS.warning_none_frac[KIND["psu"]], abs=0.01)
    assert np.median(lead[lead > 0]) == pytest.approx(LAWS.lead_median_s[KIND["psu"]], rel=0.02)
    assert lead.mean() == pytest.approx(precursor.mean_lead_s(LAWS)[KIND["psu"]], rel=0.02)


@given(st.sampled_from(range(len(LAWS.kinds))), loads, loads)
def test_signs_grow_from_nothing_to_the_fault(kind, p1, p2):
    k = np.array([kind])
    early, late = (precursor.severity(LAWS, k, np.array([p]))[0] for p in sorted((p1, p2)))
    assert 0.0 <= early <= late <= 1.0
    assert precursor.severity(LAWS, k, np.array([0.0]))[0] == 0.0
    assert precursor.severity(LAWS, k, np.array([1.0]))[0] == pytest.approx(1.0)


# --- repair ---------------------------------------------------------------------------------------


def test_repairs_are_heavy_tailed():
    rng = np.random.default_rng(2)
    n = 100_000
    kind = rng.choice(len(LAWS.kinds), n, p=LAWS.type_rate_per_s[0] / LAWS.type_rate_per_s[0].sum())
    hours = repair.length_s(LAWS, kind, rng.random(n), rng.normal(size=n)) / 3600.0
    assert 15.0 < np.median(hours) < 30.0  # 21 h (notes/predict.md 1.1)
    assert hours.mean() > 4.0 * np.median(hours)


@pytest.mark.parametrize(("crews", "busy"), [(1, 0.6), (3, 0.8), (8, 0.9)])
def test_waiting_for_a_crew_is_erlang_s_within_2_percent(crews, busy):
    rng = np.random.default_rng(11)
    rows, n, mean_s = 2000, 1000, 7200.0
    rate = busy * crews / mean_s
    # the first half of each row is warm-up
    arrival = np.cumsum(rng.exponential(1.0 / rate, (rows, n)), axis=1)
    wait = repair.crew_starts_s(arrival, rng.exponential(mean_s, (rows, n)), crews) - arrival
    found = wait[:, n // 2 :].mean()
    assert found == pytest.approx(float(mean_s_of_queue(crews, rate, mean_s)), rel=0.02)


def mean_s_of_queue(crews: int, rate: float, mean_s: float) -> float:
    return float(mean_wait_s(crews, rate, 1.0 / mean_s))


def test_the_longest_waiting_are_admitted_first():
    never = 99
    since = np.array([[5, never, 3, 3], [never, never, 7, 1], [1, 2, 3, 4]])
    taken = repair.admit(since, np.array([2, 4, 0]), never)
    assert taken.tolist() == [[False, False, True, True], [False, False, True, True], [False] * 4]


def test_young_and_daly_s_interval_is_the_best_of_a_simulation_within_2_percent():
    save_s, mtbf_s = 30.0, 24.0 * 3600.0
    trial = np.linspace(0.6, 1.5, 19) * young_daly_s(save_s, mtbf_s)
    waste = np.array([wasted_frac(t, save_s, mtbf_s) for t in trial])
    # the optimum is flat: the parabola through all trials finds it where the least one alone would not
    a, b, _ = np.polyfit(np.log(trial), waste, 2)
    best = np.exp(-b / (2.0 * a))
    assert best == pytest.approx(float(young_daly_s(save_s, mtbf_s)), rel=0.02)
    assert best == pytest.approx(float(daly_s(save_s, mtbf_s)), rel=0.01)


def wasted_frac(work_s: float, save_s: float, mtbf_s: float) -> float:
    """Share of time lost to saves and to work done twice, over the same failures for every interval."""
    rng = np.random.default_rng(7)
    lives = rng.exponential(mtbf_s, 400_000)
    done = np.floor(lives / (work_s + save_s)) * work_s
    return float(1.0 - done.sum() / lives.sum())


def test_shared_causes_strike_as_many_as_they_shall():
    kind = np.array([KIND["fan"]] * 3)
    prob = faults.strike_prob(LAWS, kind, np.array([7, 31, 2]))
    assert prob[:2] * [7, 31] == pytest.approx([LAWS.struck_mean[KIND["fan"]]] * 2)
    assert prob[2] == 1.0


# --- files ----------------------------------------------------------------------------------------


def test_a_wrong_table_says_everything_at_once(tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text(
        TEXT.replace("p_cure = 0.0", "p_cure = 40")
        .replace('id = "nic"', 'id = "nick"')
        .replace("lemon_frac = 0.1", "lemon_fraction = 0.1")
    )
    with pytest.raises(ConfigError) as refused:
        load_faults(file)
    said = str(refused.value)
    assert "repeat.p_cure" in said
    assert "nick" in said
    assert "lemon_frac" in said


def test_shares_and_doubles_are_refused(tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text(TEXT.replace("share = 0.2509", "share = 0.35").replace('id = "nic"', 'id = "fan"'))
    with pytest.raises(ConfigError) as refused:
        load_faults(file)
    assert "shares of 'gpu' add up to 1.0991" in str(refused.value)
    assert "'fan' stands here again" in str(refused.value)


def test_an_unknown_table_names_those_there_are():
    with pytest.raises(ConfigError, match="ai-cluster hpc-cluster"):
        load_faults("nowhere")


def test_every_site_has_laws_and_its_hash_covers_them(tmp_path):
    site = load_site("tiny")
    assert site.faults.kinds
    text = (DATA / "sites" / "tiny.toml").read_text(encoding="utf-8")
    other = tmp_path / "other.toml"
    other.write_text(text + '\n[faults]\ntable = "hpc-cluster"\ncrews = 2\n')
    changed = load_site(other)
    assert changed.faults.crews == 2
    assert "memory" in changed.faults.kinds
    assert changed.hash != site.hash


def test_the_mixture_of_repairs_is_the_mixture_of_its_stages():
    rng = np.random.default_rng(5)
    k = KIND["gpu"]
    hours = repair.length_s(LAWS, np.full(50_000, k), rng.random(50_000), rng.normal(size=50_000)) / 3600.0
    stage = load_faults("ai-cluster").kind[k].repair

    def cdf(x):
        return sum(s.share * stats.norm.cdf((np.log(x) - np.log(s.median_h)) / s.sigma) for s in stage)

    assert stats.kstest(hours, cdf).pvalue > 0.01


def test_site_explain_says_how_a_node_fails():
    site = load_site("tiny")
    gpu = int(np.flatnonzero(site.node_gpus)[0])
    rows = {row["kind"]: row for row in fault_explain.of_node(site, gpu)}
    assert set(rows) == set(site.faults.kinds)
    assert sum(row["per_year"] for row in rows.values()) == pytest.approx(
        1.56, abs=0.05
    )  # 1.53 per node-year, less down
    assert "gpu" not in {row["kind"] for row in fault_explain.of_node(site, 0)}, "a node without any"
    rng = np.random.default_rng(5)
    for k, kind in enumerate(site.faults.kinds):
        hours = repair.length_s(site.faults, np.full(20_000, k), rng.random(20_000), rng.normal(size=20_000)) / 3600.0
        assert np.median(hours) == pytest.approx(rows[kind]["repair_median_h"], rel=0.15), kind
    assert fault_explain.of_site(site)["crews"] == -1
