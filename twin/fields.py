"""The arrays of `State`: over which components, of what type, what they mean. Making and checking read this table."""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """One array of `State`, shaped (members, components of `axis`)."""

    name: str
    axis: str
    dtype: str
    meaning: str
    heals: bool = False  # may be moved by sync


FLOAT, INT, SMALL, TINY, FLAG = "float64", "int64", "int32", "int8", "bool"

FIELDS: tuple[Field, ...] = (
    Field("member", "", INT, "member id: names the member's luck, whatever its row"),
    # nodes: a population (design section 1, rule 3)
    Field("node_phase", "node", TINY, "0 on, 1 stopped by heat, 2 failed, 3 starting, 4 dark (no power)"),
    Field("node_until_ms", "node", INT, "end of the phase, 2^62 for phases that do not end by themselves"),
    Field("node_fails_at", "node", FLOAT, "hazard of its rack at which a fault of the node begins in this episode"),
    Field("node_fault", "node", TINY, "kind of the fault that is coming or there, -1 none"),
    Field("node_onset_ms", "node", INT, "when its signs began, 2^62 where none shows"),
    Field("node_fault_ms", "node", INT, "when it strikes or struck, 2^62 none"),
    Field("node_standby", "node", FLAG, "kept warm: takes no job until a node like it fails"),
    Field("node_lemon", "node", FLAG, "fails more often than others, until a repair cures it"),
    Field("node_episode", "node", INT, "how many lives the node has had"),
    Field("node_cap_frac", "node", FLOAT, "power cap as a share of peak power, 1 = none"),
    Field("node_cordon", "node", FLAG, "takes no new job"),
    Field("node_kept_by", "node", SMALL, "job that is copied ahead to the node and keeps its share of it, -1 none"),
    Field("node_psu_ok", "node", TINY, "healthy power supplies"),
    Field("node_psu_b_ok", "node", TINY, "healthy ones among those on side B"),
    Field("node_stop_c", "node", FLOAT, "inlet temperature of the protective shutdown [C]", True),
    Field("fleet_age_s", "", FLOAT, "age of the nodes [s]"),
    Field("part_back_ms", "part", INT, "when a place on the shelf of spare parts is filled again, by kind of fault"),
    Field("node_power_scale", "node", FLOAT, "this member's factor on node power", True),
    Field("rack_idle_scale", "rack", FLOAT, "its factor on the idle power of the rack's nodes", True),
    Field("rack_bend_scale", "rack", FLOAT, "its factor on how far their power curve bends", True),
    Field("rack_psu_loss_scale", "rack", FLOAT, "its factor on what their power supplies lose", True),
    # accelerators and fans of nodes that have such tables
    Field("gpu_c", "gpu_node", FLOAT, "hottest accelerator of the node, its inlet where it has none [C]"),
    Field("gpu_mem_c", "gpu_node", FLOAT, "memory of that accelerator [C]"),
    Field("gpu_stage", "gpu_node", TINY, "slowed down by its firmware: 0 no, 1 light, 2 hard"),
    Field("gpu_mem_slow", "gpu_node", FLAG, "its memory is too hot and has lost bandwidth"),
    Field("fan_level", "gpu_node", TINY, "speed step of the node's fans"),
    Field("fan_ok_frac", "gpu_node", FLOAT, "share of their air that the node's fans still give"),
    # racks
    Field("rack_mass_c", "rack", FLOAT, "equipment temperature [C]", True),
    Field("rack_air_c", "rack", FLOAT, "temperature of the air that leaves the rack [C]", True),
    Field("rack_inlet_c", "rack", FLOAT, "inlet temperature during the last step [C]"),
    Field("rack_hazard", "rack", FLOAT, "hazard that any of its nodes has accrued, whatever its life"),
    Field("rack_mass_kj_per_k", "rack", FLOAT, "heat capacity of the equipment [kJ/K]", True),
    Field("rack_air_kj_per_k", "rack", FLOAT, "heat capacity of the air [kJ/K]"),
    Field("rack_ua_kw_per_k", "rack", FLOAT, "conductance equipment to air [kW/K]", True),
    Field("rack_flow_kw_per_k", "rack", FLOAT, "air flow of the running rack [kW/K]", True),
    Field("rack_recirc_frac", "rack", FLOAT, "share of hot air drawn at the inlet", True),
    Field("rack_inlet_bias_k", "rack", FLOAT, "error of the sensor at its inlet: reading less truth [K]", True),
    Field("rack_outlet_bias_k", "rack", FLOAT, "error of the sensor at its outlet [K]", True),
    # halls, cooling, water
    Field("hall_hot_c", "hall", FLOAT, "hot-aisle air [C]", True),
    Field("hall_setpoint_c", "hall", FLOAT, "supply-air set-point [C]", True),
    Field("hall_supply_c", "hall", FLOAT, "supply air during the last step [C]"),
    Field("hall_structure_c", "hall", FLOAT, "walls, floor and steel beside the hot-side air [C]", True),
    Field("hall_structure_kj_per_k", "hall", FLOAT, "heat capacity of these, 0 without such a node [kJ/K]", True),
    Field("hall_fan_scale", "hall", FLOAT, "this member's factor on the power of the fans of its cooling units", True),
    Field("hall_hot_bias_k", "hall", FLOAT, "error of the sensor of its hot-aisle air [K]", True),
    Field("unit_running", "cooling_unit", FLAG, "cooling unit runs"),
    Field("unit_off", "cooling_unit", TINY, "why it stands still: bits of twin/cooling_bits.py, 0 runs"),
    Field("unit_held_frac", "cooling_unit", FLOAT, "fan speed at which its frozen control holds it, -1 not frozen"),
    Field("unit_valve_frac", "cooling_unit", FLOAT, "valve or compressor share held with it"),
    Field("unit_flow_kw_per_k", "cooling_unit", FLOAT, "air flow of a unit at full speed [kW/K]", True),
    Field("loop_supply_c", "loop", FLOAT, "chilled water supplied [C]", True),
    Field("loop_setpoint_c", "loop", FLOAT, "chilled-water set-point [C]"),
    Field("loop_flow_frac", "loop", FLOAT, "water flow through the chillers, share of nominal", True),
    Field("loop_flow_per_s", "loop", FLOAT, "drift of that flow [1/s]", True),
    Field("loop_water_kj_per_k", "loop", FLOAT, "heat capacity of buffer and pipes [kJ/K]", True),
    Field("loop_supply_bias_k", "loop", FLOAT, "error of the sensor of the water supplied [K]", True),
    Field("loop_heat_kw", "loop", FLOAT, "heat from the cooling units during the last step [kW]"),
    Field("loop_call_s", "loop", FLOAT, "how long one more chiller has been wanted [s]"),
    Field("loop_spare_s", "loop", FLOAT, "how long one chiller fewer would have done [s]"),
    Field("loop_held", "loop", FLAG, "its control is frozen: no chiller or pump starts or stops by itself"),
    Field("chiller_phase", "chiller", TINY, "0 running, 1 standby, 2 tripped, 3 restarting"),
    Field("chiller_capacity_kw", "chiller", FLOAT, "capacity at full flow [kW]", True),
    Field("chiller_cop", "chiller", FLOAT, "coefficient of performance at 25 C outdoors", True),
    Field("chiller_off", "chiller", TINY, "why it cannot run: bits of twin/cooling_bits.py, 0 it can"),
    Field("chiller_until_ms", "chiller", INT, "end of its start"),
    Field("chiller_trips", "chiller", INT, "how often it has tripped"),
    Field("chiller_foul_k", "chiller", FLOAT, "how much hotter than its loop's others it condenses [K]"),
    Field("pump_off", "pump", TINY, "why it stands still, as for cooling units"),
    Field("cdu_off", "cdu", TINY, "why it stands still, as for cooling units"),
    Field("cdu_coolant_c", "cdu", FLOAT, "coolant it supplies [C]", True),
    Field("cdu_water_kj_per_k", "cdu", FLOAT, "heat capacity of its coolant [kJ/K]"),
    # weather and people
    Field("region_outdoor_k", "region", FLOAT, "outdoor temperature above that of the drivers [K]"),
    Field("region_outdoor_k_per_s", "region", FLOAT, "drift of that [K/s]"),
    Field("staff_busy", "region", INT, "people at work on restarts"),
    # power chain
    Field(
        "ups_battery_kwh", "ups", FLOAT, "energy left in the batteries [kWh]; below 0 by what the last step drew", True
    ),
    Field("ups_modules_ok", "ups", TINY, "healthy modules"),
    Field("ups_heat", "ups", FLOAT, "share of the time for which its inverters bear an overload, 1 = they give up"),
    Field("ups_bypass", "ups", FLAG, "its load hangs straight on its feed"),
    Field("ups_on_feed", "ups", TINY, "feed that a plan put it on, -1 as built"),
    Field("feed_ok", "feed", FLAG, "the feed works; alive also where a generator backs it"),
    Field("feed_heat", "feed", FLOAT, "thermal share of the trip of its main breaker, 1 = it trips"),
    Field("feed_until_ms", "feed", INT, "when its tripped main breaker will be closed again, 0 = none tripped"),
    Field("generator_phase", "generator", TINY, "0 stands by, 1 starting, 2 carries load, 3 failed"),
    Field("generator_until_ms", "generator", INT, "when a person has mended a failed one, 0 none"),
    Field("generator_demands", "generator", INT, "how often it was asked to start: names its luck"),
    Field("pdu_heat", "pdu", FLOAT, "thermal share of its breaker's trip, 1 = it trips"),
    Field("pdu_until_ms", "pdu", INT, "when a tripped breaker will be closed again, 0 = closed"),
    Field("hall_on_feed", "hall", TINY, "feed that a plan put its cooling on, -1 as built"),
    Field("loop_on_feed", "loop", TINY, "feed that a plan put its pumps and chillers on, -1 as built"),
    # network: populations of links (between halls, then from leaves to spines) and of switches (leaves, then spines)
    Field("link_phase", "link", TINY, "0 up, 1 down, 2 flapping, 3 losing frames, 4 taken out of service"),
    Field("link_until_ms", "link", INT, "end of the phase: the next fault of a link that is up, else its repair"),
    Field("link_loss_frac", "link", FLOAT, "share of frames it loses"),
    Field("link_episode", "link", INT, "how many lives the link has had"),
    Field("switch_phase", "switch", TINY, "0 up, 1 down, 3 grey: up but losing frames, 4 taken out of service"),
    Field("switch_until_ms", "switch", INT, "end of the phase: the next fault of a switch that is up, else its repair"),
    Field("switch_loss_frac", "switch", FLOAT, "share of frames it loses"),
    Field("switch_episode", "switch", INT, "how many lives the switch has had"),
    # jobs
    Field("job_phase", "job", TINY, "0 not arrived, 1 waiting, 2 running, 3 moving, 4 restarting, 5 held, 6 done"),
    Field("job_work_s", "job", FLOAT, "work done, in seconds at full speed"),
    Field("job_saved_s", "job", FLOAT, "work in the last checkpoint [s]"),
    Field("job_hall", "job", INT, "hall that holds its data, -1 any"),
    Field("job_drain", "job", FLAG, "stops at its next checkpoint"),
    Field("job_target", "job", INT, "hall it shall move to, -1 none"),
    Field("job_copy_gb", "job", FLOAT, "state still to copy [GB]"),
    Field("job_mode", "job", TINY, "how it moves: 0 stop-and-copy, 1 pre-copy, 2 restart from its checkpoint"),
    Field("job_ahead", "job", FLAG, "its state is copied ahead while it works on"),
    Field("job_dirty_gb", "job", FLOAT, "state written again since this round of the copy began [GB]"),
    Field("job_round", "job", TINY, "rounds of the copy that are over"),
    Field("job_until_ms", "job", INT, "end of its restart"),
    Field("job_start_ms", "job", INT, "when it was last started"),
    Field("job_stall_ms", "job", INT, "since when the network lets nothing through to it, -1 it does"),
    Field("slot_node", "slot", SMALL, "node of each slot, -1 none"),
    Field("dispatch_due", "", FLAG, "queue or room changed: try to place waiting jobs at the next step"),
    Field("move_limit", "", INT, "how many jobs may move at a time"),
    # cumulative counters: no metric depends on the sampling step
    Field("energy_it_kwh", "", FLOAT, "energy drawn by IT [kWh]"),
    Field("energy_kwh", "region", FLOAT, "energy of the whole region [kWh]"),
    Field("generator_kwh", "", FLOAT, "energy given by generators [kWh]"),
    Field("carbon_kgco2", "", FLOAT, "carbon of that energy [kg]"),
    Field("lost_service_s", "", FLOAT, "lost service, in seconds of full outage"),
    Field("lost_gpu_h", "", FLOAT, "GPU-hours not delivered, rework included"),
    Field("moved_gb", "", FLOAT, "state copied between halls [GB]"),
    Field("node_stops", "", FLOAT, "protective shutdowns"),
    Field("node_failures", "", FLOAT, "node failures"),
    Field("net_faults", "", FLOAT, "faults of links and switches"),
    Field("saving_gpu_h", "", FLOAT, "GPU-hours spent on writing checkpoints"),
    Field("service_late_s", "service", FLOAT, "time in which a service answered later than its class promises [s]"),
    Field("requests_lost", "service", FLOAT, "requests that a service had no capacity to answer"),
    Field("net_requeues", "", FLOAT, "jobs sent back to the queue because the network left them standing"),
    Field("first_stop_ms", "", INT, "first protective shutdown, -1 none"),
    Field("service_frac", "", FLOAT, "delivered share of demanded service in the last step"),
    Field("low_service_ms", "", INT, "last instant at which service was below its limit, -1 never"),
    Field("peak_inlet_c", "", FLOAT, "highest rack inlet so far [C]"),
    Field("temp_moved_k", "", FLOAT, "largest change of an air or water temperature in the last step [K]"),
    Field("heat_in_kj", "", FLOAT, "heat put into air and water so far [kJ]"),
    Field("heat_out_kj", "", FLOAT, "heat rejected and lost so far [kJ]"),
    Field("heat_sync_kj", "", FLOAT, "heat added by analysis increments [kJ]"),
)

BY_NAME = {f.name: f for f in FIELDS}
