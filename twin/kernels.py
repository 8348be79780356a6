"""The loops of the step over jobs, slots and nodes, in two forms: plain NumPy, the reference, and numba, the fast one.

A State names its form (`State.backend`), and one lineage keeps to one form: both meet the same failures and differ in
the last bits only (design section 1, rule 5). Numba is imported when a State first asks for it.
"""

from __future__ import annotations

import importlib
import sys
from functools import lru_cache
from typing import Any, Protocol, cast

from plant.errors import SnapshotMismatch
from plant.thermal import RackStep
from twin.columns import Flags, Floats, GpuColumns, GpuOut, Ints, JobColumns, LoopColumns, RackOut

BACKENDS = ("numpy", "numba")
DEFAULT = "numba"


# fmt: off
class Kernels(Protocol):
    """What each form offers; arrays that end in `out` are written for the given member rows and nowhere else."""

    def occupancy(
        self, rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, share: Floats, use:
        Floats, used_out: Floats, util_out: Floats,
    ) -> None:
        """Add up what live jobs take (share) and use of each node of some rows; use is (rows, live), or (1, live)."""
        ...

    def slowest(
        self, rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_ratio: Floats,
        slowest_out: Floats,
    ) -> None:
        """Find the least node ratio among the slots of each running job: a gang runs at its slowest member's speed."""
        ...

    def replica_sums(self, service: Ints, servers: Floats, speed: Floats, asked: Flags, sums_out: Floats) -> None:
        """Add up over the live jobs (of service, -1 none) of each row: servers that run, with their speed, asked for.

        speed and asked are (rows, live), sums_out is (rows, 3, services).
        """
        ...

    def place_queue(
        self, rows: Ints, live: Ints, job_phase: Any, job_hall: Ints, share: Floats, node_need: Floats, width:
        Ints, shape: Ints, slot_start: Ints, slot_node: Any, node_phase: Any, node_cordon: Flags, node_gpus:
        Any, hall_start: Ints, used_frac: Floats, started_out: Flags,
    ) -> None:
        """Place waiting jobs in order by first fit, passing over those that find no room; take the room at once."""
        ...

    def traffic(
        self, rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_leaf: Any,
        leaf_hall: Any, want: Floats, leaf_gb_per_s: Floats, leaf_out: Floats, hall_out: Floats, tight_out:
        Flags,
    ) -> None:
        """Add up what running gangs send up from leaves and between halls, and tell where that is tight."""
        ...

    def carried(
        self, rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_leaf: Any,
        leaf_hall: Any, want: Floats, leaf_share: Floats, leaf_mask: Any, hall_share: Floats, share_out: Floats,
    ) -> None:
        """Find the share of its traffic that the network carries for each running job."""
        ...

    def node_demand(
        self, rows: Ints, util_frac: Floats, idle_kw: Floats, peak_kw: Floats, concave_frac: Floats, scale:
        Floats, idle_scale: Floats, bend_scale: Floats, rack_start: Any, cap_frac: Floats, demand_out: Floats,
        cap_out: Floats,
    ) -> None:
        """Find what nodes of some rows ask for and what their caps allow [kW], both (rows, N); see plant/power.py.

        scale is (M, N), idle_scale and bend_scale (M, R).
        """
        ...

    def settle_nodes(
        self, rows: Ints, demand_kw: Floats, cap_kw: Floats, live: Any, node_phase: Any, psu_rated_kw: Floats,
        psu_loss: Floats, peak_kw: Floats, rack_start: Any, loss_scale: Floats, drawn_out: Floats, node_kw_out:
        Floats, ratio_out: Floats, rack_kw_out: Floats,
    ) -> None:
        """Find what nodes draw, how fast they run, and what their racks draw.

        demand_kw, cap_kw, live (supplies) and drawn_out are (rows, N); psu_loss (coefficients, N), loss_scale
        (M, R); the rest is (M, N).
        """
        ...

    def watch_racks(
        self, rows: Ints, node_phase: Any, rack_start: Any, fails_at: Floats, stop_c: Floats, offset_k: Floats,
        until_ms: Ints, rack_out: RackOut, next_up_out: Ints,
    ) -> None:
        """Find how many nodes of each rack run, and the least margins at which one of them fails or stops."""
        ...

    def gpu_rises(
        self, rows: Ints, of: GpuColumns, drawn_kw: Floats, extra_kw: Floats, speed: Floats, resistance: Floats,
        rise_out: Floats, above_out: Floats,
    ) -> None:
        """Find how far above what cools them accelerators settle, and their memory above them [K], for some rows.

        drawn_kw is (rows, N), all else (M, G).
        """
        ...

    def gpu_step(
        self, of: GpuColumns, cold_c: Floats, rise_k: Floats, above_k: Floats, keep: Floats, mem_keep: Floats,
        up_c: Floats, down_c: Floats, gpu_out: Any, mem_out: Any,
    ) -> GpuOut:
        """Advance accelerators and memory (M, G) by one step in place; cold_c (M, R); tell who came to a threshold."""
        ...

    def rack_coefficients(
        self, rows: Ints, mass_kj_per_k: Floats, air_kj_per_k: Floats, ua_kw_per_k: Floats, flow_kw_per_k:
        Floats, dt_s: float, seen_out: Floats, step_out: RackStep,
    ) -> None:
        """Compute exact-step coefficients (plant/thermal.py) of racks that changed since seen_out (4, M, R)."""
        ...

    def rack_air(
        self, step: RackStep, rack_hall: Any, heat_kw: Floats, inlet_c: Floats, mass_kj_per_k: Floats,
        air_kj_per_k: Floats, dt_s: float, mass_out: Floats, air_out: Floats, inlet_out: Floats, peak_out:
        Floats, carried_out: Floats,
    ) -> None:
        """Advance all racks by one step in place; carried_out (M, H): the heat that leaves their racks [kJ]."""
        ...

    def advance_jobs(
        self, live: Ints, of: JobColumns, dt_s: float, now_ms: int, speed: Floats, job_phase: Any, drain: Any,
        until_ms: Ints, work_out: Floats, saved_out: Floats, saving_gpu_h_out: Floats, event_out: Any,
    ) -> bool:
        """Advance work and saves of the live jobs in place; event_out (M, live): 1 done, 2 drained, 4 up again.

        speed is (M, live), the rest (M, J). Tells whether anything has happened.
        """
        ...

    def service(
        self, rows: Ints, live: Ints, job_phase: Any, start_ms: Ints, weight: Floats, gpus: Floats, speed: Floats,
        share: Floats, demand_out: Floats, total_out: Floats, frac_out: Floats, lost_gpus_out: Floats,
    ) -> None:
        """Find what is demanded (M, live) of live jobs in some rows, its total, and the share that they give.

        speed says what GPU-hours are lost, share what is given of the demand: the same but for services.
        """
        ...

    def loop_step(
        self, of: LoopColumns, dt_s: float, outdoor_c: Floats, heat_kw: Floats, flow_frac: Floats, phase: Any,
        chiller_kw: Floats, chiller_cop: Floats, setpoint_c: Floats, water_kj_per_k: Floats, supply_out: Floats,
        free_out: Floats, taken_out: Floats, capacity_out: Floats, electric_out: Floats,
    ) -> None:
        """Let chillers and free cooling take heat (M, L) out of the loops for one step; supply_out [C] in place.

        free_out: what free cooling could take, then what it took; taken_out, capacity_out, electric_out: of chillers.
        """
        ...

    def endangered(
        self, of: LoopColumns, outdoor_c: Floats, flow_frac: Floats, taken_kw: Floats, capacity_kw: Floats,
        fouling_k: float,
    ) -> tuple[bool, bool]:
        """Tell whether any loop has too little water, and whether any chiller may condense too hot."""
        ...

    def stage(
        self, of: LoopColumns, dt_s: float, phase: Any, held: Any, supply_c: Floats, setpoint_c: Floats,
        taken_kw: Floats, capacity_kw: Floats, call_out: Floats, spare_out: Floats, up_out: Any, down_out: Any,
    ) -> bool:
        """Count in place how long loops asked for a chiller more or fewer; tell whether any is due (up, down)."""
        ...

    def sync_gain(
        self, predicted: Floats, value: Floats, error_var: Floats, noise_var: Floats, deviation_out: Floats,
        table_out: Floats,
    ) -> None:
        """Find the correction (`twin.columns.Parts`) that follows from predictions (M, n) and what was read (n,)."""
        ...

    def sync_recall(self, kept: Floats, slot: Ints, at: Ints, predicted_out: Floats, moments_out: Floats) -> None:
        """Find what was kept (K, M, S) of some sensors in their slots, (M, n), its mean and variance (2, n)."""
        ...

    def sync_groups(self, values: Floats, of: Ints, sums_out: Floats) -> None:
        """Add up columns (M, n) by group, (M, groups)."""
        ...

    def sync_own(
        self, array: Floats, at: Ints, source: Ints, deviation: Floats, table: Floats, push: Floats
    ) -> None:
        """Move components `at` of an observed quantity (M, C) in place; push (n,): what the model noise adds.

        source: the reading behind each component, here and below.
        """
        ...

    def sync_linked(
        self, old: Floats, source: Ints, deviation: Floats, table: Floats, new_out: Floats, moved_out: Floats
    ) -> None:
        """Move a quantity (M, n) as far as its correlation is no chance; moved_out (2, n): mean step and effect."""
        ...

    def sync_bounded(
        self, old: Floats, at: Ints, source: Ints, deviation: Floats, table: Floats, most: float, low: Floats,
        high: Floats, least_sd: float, quantiles: Floats, new_out: Floats, moved_out: Floats,
    ) -> None:
        """Do the same for a parameter: no member moves by more than `most`; bounds (C,) or (1,), a least spread hold.

        quantiles: how members that have become equal are spread anew (M,).
        """
        ...

    def sync_past(
        self, kept: Floats, kept_ms: Ints, at: Ints, source: Ints, said_ms: Ints, deviation: Floats, table: Floats,
        push: Floats,
    ) -> None:
        """Move what was remembered (K, M, S) of some sensors; push (n,) counts from the step of each reading on.

        kept_ms (K,): below 0 where nothing is.
        """
        ...

    def sync_narrow(self, array: Floats, prior_var: float, relative: bool) -> bool:
        """Tell whether any component of a parameter (M, C) lies closer together than at first."""
        ...

    def sync_forget(self, values: Floats, grows: Floats, prior_var: float) -> None:
        """Widen parameters (M, C) towards their prior variance in place, by shares of it (C,) or (1,)."""
        ...

    def sync_statistics(
        self, at: Ints, value: Floats, difference: Floats, expected: Floats, last: Floats, scaled: Floats,
        out: Floats,
    ) -> tuple[int, int]:
        """Find means over the sensors that had spoken before: how many, how many of two innovations; see Following."""
        ...
# fmt: on


@lru_cache(maxsize=2)
def kernels(backend: str) -> Kernels:
    """Return the kernels of a backend; raises SnapshotMismatch for one that does not exist or is not installed."""
    if backend == "numpy":
        return cast(Kernels, importlib.import_module("twin.plain_kernels"))
    if backend != "numba":
        raise SnapshotMismatch(
            "state.backend", f"'{backend}'", f"one of {' '.join(BACKENDS)}", "start from another snapshot"
        )
    try:
        return cast(Kernels, _numba())
    except ImportError as error:
        raise SnapshotMismatch(
            "state.backend", f"'numba', and {error}", "an installed numba", "run `make setup`, or choose backend numpy"
        ) from None


def _numba() -> Any:
    """Import the numba form; numba would load scipy (its version, its BLAS), which the twin has no use for."""
    hidden = "scipy" not in sys.modules
    if hidden:
        sys.modules["scipy"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("numba.np.arraymath")  # asks for scipy when first used, so it is loaded here
        return importlib.import_module("twin.numba_kernels")
    finally:
        if hidden:
            del sys.modules["scipy"]
