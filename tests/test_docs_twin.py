"""docs/twin.md says what the code does: its numbers are made from the code and looked for under their headings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from plant import (
    airunits,
    breaker,
    checkpoint,
    chillers,
    cooling,
    gpu,
    liquid,
    migration,
    network,
    networkfaults,
    power,
    sitebuild,
    ups,
    water,
)
from plant.chainfile import Generator, Pdu, Sag
from plant.coolingfile import Cdu, ChillerControl, Compressor, FreeCooling, PlantStaff, Pump
from plant.sitefile import Chillers, CoolingUnit, Feed, Hall, NodeType, Rack, SiteFile
from plant.workload import JOB_CLASSES
from twin import (
    airpaths,
    airside,
    cooling_watch,
    electricity,
    engine,
    ensemble,
    gpu_lives,
    gpus,
    link_lives,
    node_lives,
    power_cross,
    sags,
    state,
)
from twin.sync import lateness

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "twin.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """The text under a heading, up to the next heading of its rank or a higher one."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", PAGE, flags=re.M)
    assert found, heading
    rest = PAGE[found.end() :]
    ends = re.search(rf"^#{{1,{len(found[1])}}} ", rest, flags=re.M)
    return " ".join((rest[: ends.start()] if ends else rest).split())


def default(model: Any, key: str) -> Any:
    """Default of a key of a site file, numbers without a needless point."""
    value = model.model_fields[key].default
    return shown(value) if isinstance(value, float) else value


def shown(value: float) -> str:
    return f"{value:g}" if value < 1000 else f"{value:,.0f}"


RACK, UPS = breaker.RACK_BREAKER, breaker.UPS_OVERLOAD
SPREAD = ensemble.Spread()
SAID: list[tuple[str, list[str]]] = [
    (
        "Clock, luck, members",
        [
            f"({engine.MAX_CALM_STEP_MS // 1000} s at most)",
            f"({engine.MAX_STEP_MS // 1000} s at most",
            f"than {state.CALM_K} K",
            rf"\le {airside.MAX_AIR_COURANT}",
            f"±{ensemble.LIMIT_SIGMAS:g}",
            f"| {SPREAD.rack_mass_frac} | rack equipment, rack air, rack conductance, loop water",
            f"| {SPREAD.rack_flow_frac} | rack air flow, chiller capacity",
            f"| {SPREAD.rack_recirc_frac} | recirculation",
            f"| {SPREAD.chiller_cop_frac} | chiller COP",
            f"| {SPREAD.node_power_frac} | node power",
            f"| {SPREAD.node_stop_k:g} K | stop temperature",
            f"| {ensemble.FOULING_K} K | fouling",
            f"older than {lateness.LATE_MS // 1000} s",
        ],
    ),
    ("Power of a node", [f"`concave_frac` $k$ = {default(NodeType, 'concave_frac')}"]),
    ("Caps", [rf"P_f = {power.CAP_FLOOR_FRAC}\,P_1"]),
    ("Accelerators and memory", [f"v^{{-{gpu.CONVECTION_EXPONENT}}}"]),
    (
        "Fans",
        [
            rf"\vartheta - {gpu.RELEASE_K:g},\ \vartheta - {gpu.SETTLE_K:g} - \delta",
            f"draught of {gpu.DRAUGHT_FRAC}",
            f"show {gpu_lives.WORN_FRAC} of",
        ],
    ),
    (
        "Slowdown, shutdown, start",
        [
            f"share {gpu.STAGE_RATIO[1]} of",
            f"`hard_c` {gpu.STAGE_RATIO[2]}:",
            f"({default(NodeType, 'stop_c')} °C",
            f"{default(Rack, 'inlet_spread_k')} K",
            f"below {node_lives.RESTART_INLET_C:g} °C",
            f"within {node_lives.RESTART_WATER_K:g} K",
            f"are {gpus.RESTART_BELOW_SLOW_K:g} K",
            rf"median {node_lives.START_MEDIAN_S:g} s, $\sigma$ {node_lives.START_SIGMA}",
        ],
    ),
    (
        "Racks",
        [
            f"({airpaths.STANDING_FLOW_FRAC} + {1 - airpaths.STANDING_FLOW_FRAC}",
            f"{default(NodeType, 'mass_kj_per_k')} kJ/K per 2U",
            f"{default(Rack, 'air_kj_per_k')} kJ/K, contained",
            f"design power / {sitebuild.EQUIPMENT_ABOVE_AIR_K:g} K",
            f"{default(Rack, 'air_rise_k')} K (`air_rise_k`)",
            f"{default(Rack, 'recirc_frac')} (`recirc_frac`)",
            f"`design_util_frac` {default(SiteFile, 'design_util_frac')}",
        ],
    ),
    (
        "Hall air",
        [f"{sitebuild.PLENUM_S_OF_FLOW:g} s of the racks'", f"design power / {sitebuild.WALL_DESIGN_K:g} K"],
    ),
    (
        "Cooling units",
        [
            f"1 + {airunits.CAPACITY_PER_K}\\,(T_h - {airunits.RATING_RETURN_C:g}),\\ {airunits.LEAST_DX_FRAC},\\ 1.6",
            rf"1 - {airunits.DX_DERATE_PER_K}\,[T_o - {airunits.DX_DESIGN_OUTDOOR_C:g}]^+",
            f"{default(CoolingUnit, 'effectiveness_frac')} (`effectiveness_frac`)",
            f"{default(Hall, 'supply_c')} °C (`supply_c`)",
            f"| {default(Compressor, 'cop')}, {default(Compressor, 'cop_per_k')} |",
            f"{default(CoolingUnit, 'restart_s')} s (`restart_s`)",
        ],
    ),
    (
        "Pumps",
        [
            f"| {water.PUMP_SHUTOFF_RATIO} |",
            f"q / {water.COIL_FULL_FLOW_FRAC}",
            f"q / {cooling.FULL_CAPACITY_FLOW_FRAC}",
            f"design point / {water.DESIGN_RANGE_K:g} K",
            f"{default(Pump, 'start_s')} s (`start_s`)",
        ],
    ),
    (
        "Chillers",
        [
            rf"\max\big({cooling.COP_MIN},",
            rf"(T_o - {cooling.COP_REFERENCE_OUTDOOR_C:g})",
            rf"\frac{{x}}{{{chillers.LEAST_PART_LOAD}}}",
            rf"\max\big({chillers.LEAST_CAPACITY_FRAC},",
            f"site file; {default(Chillers, 'cop_per_k')} |",
            ", ".join(f"{c:g}" if c != 0.46371 else "0.463710" for c in default(ChillerControl, "part_load")),
            f"{default(ChillerControl, 'design_outdoor_c')} °C, "
            f"{100 * ChillerControl.model_fields['derate_per_k'].default:g} %/K",
            f"| {default(ChillerControl, 'capacity_per_k')}, {default(ChillerControl, 'capacity_most_frac')} |",
            f"| {default(ChillerControl, 'condenser_k')} K, {default(ChillerControl, 'condensing_trip_c')} °C |",
            rf"$\sigma$ {ensemble.FOULING_K} K, at most {cooling_watch.FOULING_LIMIT_K:g} K",
            f"{default(Chillers, 'restart_min')} min (`restart_min`)",
        ],
    ),
    (
        "Free cooling",
        [
            f"{default(FreeCooling, 'approach_k')} K (V2: 3 to 6",
            f"{default(FreeCooling, 'range_k')} K [assumed] (`range_k`)",
        ],
    ),
    (
        "Coolant units",
        [
            f"| {default(Cdu, 'liquid_frac')} (`liquid_frac`)",
            f"/ {default(Cdu, 'plate_k')} K (`plate_k`)",
            f"/ {default(Cdu, 'approach_k')} K (`approach_k`)",
            f"{default(Cdu, 'supply_c')} °C, {default(Cdu, 'water_m3')} m³, {default(Cdu, 'pump_kw')} kW",
            f"{default(Cdu, 'stop_c')} °C (`stop_c`)",
            f"{default(Cdu, 'restart_s')} s (`restart_s`)",
            r"G \le \tfrac12 C_s / \Delta t" if liquid.MAX_PLATE_COURANT == 0.5 else "changed",
        ],
    ),
    (
        "Trips, restarts, staging",
        [
            f"`low_flow_frac` ({default(ChillerControl, 'low_flow_frac')})",
            f"at {cooling_watch.FLOW_BACK_FRAC} more",
            f"{100 * cooling_watch.PRESSURE_BACK_LOAD_FRAC:g} % load would condense",
            f"condense {cooling_watch.PRESSURE_BACK_K:g} K below",
            f"below {cooling.FULL_CAPACITY_FLOW_FRAC / 2}",
            f"`lockout_frac` ({default(ChillerControl, 'lockout_frac')})",
            f"{default(PlantStaff, 'restart_min')} min hands-on",
            f"after {default(ChillerControl, 'stage_up_min')} min of load above "
            f"{default(ChillerControl, 'stage_up_frac')} or water {default(ChillerControl, 'stage_up_k')} K",
            f"after {default(ChillerControl, 'stage_down_min')} min in which the rest would stay below "
            f"{default(ChillerControl, 'stage_down_frac')}",
        ],
    ),
    (
        "Power chain",
        [
            ", ".join(f"{c:.7g}".replace("-", "−") for c in power.PSU_CURVES["platinum"]),
            f"| {RACK.from_frac}, {RACK.exponent}, {RACK.scale_s:,.0f} s |",
            f"| {RACK.instant_frac:g}; {RACK.cool_s / 60:g} min |",
            f"| {UPS.from_frac:g}, {UPS.exponent}, {UPS.scale_s:,.0f} s, {UPS.cool_s / 60:g} min; "
            f"at once from {UPS.instant_frac:g} |",
            f"| {ups.CHARGE_EFFICIENCY}; a tenth of the rating |",
            f"| {default(Pdu, 'loss_frac')} |",
            f"{default(Pdu, 'reset_min')} min, {default(Feed, 'reset_min')} min (`reset_min`)",
            ", ".join(str(default(Generator, k)) for k in ("detect_s", "delay_s", "crank_s", "load_s")) + " s",
            f"| {default(Generator, 'start_failure_prob')} |",
            f"{default(Generator, 'manual_start_min')} min, {default(Generator, 'back_min')} min",
            f"{electricity.GENERATOR_KGCO2_PER_KWH} kg/kWh",
            f"More than {power_cross.GENERATOR_OVERLOAD_FRAC} of its rating",
            f"| {default(Sag, 'hold_in_frac')}, {default(Sag, 'hold_s')} s |",
            f"| {default(Sag, 'manual_reset_prob')}; 10 to 60 min |",
            f"{sags.IT_HOLD_IN_FRAC} for {sags.UNDERVOLTAGE_S} s",
        ],
    ),
    (
        "Network",
        [
            f"{networkfaults.LEAF_PER_YEAR}, {networkfaults.SPINE_PER_YEAR:.2f} a year",
            f"{networkfaults.LINK_PER_YEAR} a year",
            f"{networkfaults.FLAP_SHARE}, {networkfaults.LOSS_SHARE}, ",
            f"| {networkfaults.GREY_SHARE} |",
            f"medians {networkfaults.LINK_REPAIR_S / 3600:g} h, {networkfaults.SWITCH_REPAIR_S / 3600:g} h, "
            f"sigma {networkfaults.LINK_REPAIR_SIGMA}",
            f"median {networkfaults.GREY_REPAIR_S / 3600:g} h, sigma {networkfaults.GREY_REPAIR_SIGMA}",
            f"median {networkfaults.SPELL_S / 60:g} min, sigma {networkfaults.SPELL_SIGMA}",
            f"| {network.RDMA_WINDOW_PACKETS:g} |",
            f"| {network.COPIES_FRAC} |",
            f"| {link_lives.STALL_TIMEOUT_MS // 60_000} min |",
            ", ".join(f"{c.net_gbit_per_s:g}" for c in JOB_CLASSES) + " Gbit/s",
        ],
    ),
    (
        "Jobs, moves, services",
        [
            f"{checkpoint.STORE_GB_PER_S:g} GB/s a node |",
            f"| {checkpoint.ASYNC_STALL_FRAC} |",
            f"| {migration.RESUME_S:g} s |",
            f"| {migration.DOWNTIME_GOAL_S} s, {migration.MAX_ROUNDS} |",
            f"| {migration.STALLED_FRAC} |",
        ],
    ),
]


@pytest.mark.parametrize(("heading", "said"), SAID, ids=[heading for heading, _ in SAID])
def test_the_page_says_the_numbers_of_the_code(heading, said):
    text = section(heading)
    missing = [phrase for phrase in said if phrase not in text]
    assert not missing, f"docs/twin.md, {heading}: not found {missing}"


@pytest.mark.parametrize("kind", JOB_CLASSES, ids=[c.name for c in JOB_CLASSES])
def test_the_table_of_classes_is_that_of_the_code(kind):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {kind.name.replace('_', ' ')} |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    save = (
        f"{shown(kind.checkpoint_interval_s)} / {shown(kind.checkpoint_cost_s)}" if kind.checkpoint_interval_s else "0"
    )
    answers = f"{kind.response_s:g} s, {kind.request_s:g} s, {kind.servers}" if kind.is_service else ""
    assert [float(cells[1]), float(cells[2]), float(cells[3])] == [kind.share_frac, kind.weight, kind.cap_exponent]
    assert cells[4:] == [
        save,
        f"{kind.state_gb:g}",
        f"{kind.restart_s:g}",
        f"{kind.move_mode.replace('_', '-')}, {kind.dirty_gb_per_s:g}",
        f"{shown(kind.rto_s)} / {shown(kind.rpo_s)}",
        answers,
    ]
