"""The members of a hall's ensemble: parameter sets as plausible as the fit leaves them, and the state of each.

Rows are independent: a row may be a member, or a member at one of many moments from which a forecast starts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from plant import thermal
from plant.streams import normal
from twin.realdata.hallair import Air, HallAir, HallParams, hot_flow_kw_per_k
from twin.realdata.hallfit import HallFit, RackFit, hall_params, rack_params
from twin.realdata.hallinlet import PRIORS, InletFit, InletParams, Intake, Intakes
from twin.realdata.hallmodel import RackParams, Racks, advance_racks, cell_of, racks_at_rest
from twin.realdata.tables import Floats


@dataclass
class Members:
    """Parameters of every row: racks and intakes (m, racks), hall (m, 1); all may be moved by readings."""

    rack: RackParams
    hall: HallParams
    inlet: InletParams


@dataclass
class Bias:
    """What readings show beyond the model, slowly changing: outlets, inlets (rows, racks) [K], heat (rows, 1) [kW]."""

    outlet_k: Floats
    inlet_k: Floats
    heat_kw: Floats


@dataclass
class Moment:
    """Where all rows are: temperatures of racks, hall and intakes, and the biases."""

    racks: Racks
    air: Air
    intake: Intake
    bias: Bias


@dataclass(frozen=True)
class Known:
    """Inputs of one cell, one row for all or one per row: power, fan speed and, where given, inlets (., racks).

    blown_frac: fans of the coolers over their reference; cold_c: their mean discharge; surplus, each (., 1).
    """

    power_kw: Floats
    speed_frac: Floats
    blown_frac: Floats
    cold_c: Floats
    surplus: Floats
    inlet_c: Floats | None


def draw_members(
    rack: RackFit, hall: HallFit, servers: Floats, count: int, width: dict[str, float], seed: int
) -> Members:
    """Return members as the fits' covariances spread them, `width` times as far; one member is the fit itself.

    width: by channel, for racks (outlet), intakes (inlet) and the hall (heat).
    Draws are centred and made uncorrelated, so that the ensemble's mean is the fit and no parameter borrows another's
    covariance by luck.
    """
    sizes = (len(rack.priors) + 2, len(hall.solution.x), len(PRIORS))
    luck = _spread(count, max(sizes), seed)
    of_rack, of_hall = width["outlet"] * luck[:, : sizes[0]], width["heat"] * luck[:, : sizes[1]]
    return Members(
        rack=_of_racks(rack, servers, of_rack),
        hall=hall_params(hall.solution.x + of_hall @ _root(hall.solution.covariance), hall.structures),
        inlet=_of_intakes(hall.inlet, width["inlet"] * luck[:, : sizes[2]]),
    )


def _spread(count: int, size: int, seed: int) -> Floats:
    """Return draws (count, size) with mean 0, and as far as there are enough of them, variance 1 and no correlation."""
    luck = np.asarray(normal(seed, "hall members", np.arange(count)[:, None], 0, np.arange(size)[None, :]))
    luck = np.asarray(luck - luck.mean(axis=0), dtype=np.float64)
    if count <= size + 1:
        return luck
    return np.asarray(np.linalg.qr(luck)[0] * np.sqrt(count - 1.0))


def _root(covariance: Floats) -> Floats:
    """Return a root: draws @ root have the covariance, also where rounding has left it a direction of none."""
    size, direction = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return np.asarray((direction * np.sqrt(np.maximum(size, 0.0))).T)


def _of_racks(fit: RackFit, servers: Floats, luck: Floats) -> RackParams:
    """Each rack by itself: what racks share, its flow and its offset."""
    n, racks = len(fit.priors), len(servers)
    each = []
    for r in range(racks):
        at = [*range(n), n + r, n + racks + r]
        x = fit.solution.x[at] + luck @ _root(fit.solution.covariance[np.ix_(at, at)])
        each.append(rack_params(x, fit.priors, servers[[r]]))
    wide = {f.name: [np.broadcast_to(getattr(p, f.name), (len(luck), 1)) for p in each] for f in fields(RackParams)}
    return RackParams(**{name: np.concatenate(columns, axis=1) for name, columns in wide.items()})


def _of_intakes(fit: InletFit, luck: Floats) -> InletParams:
    roots = np.stack([_root(c) for c in fit.covariance])
    moved = np.einsum("mk,rkj->jmr", luck, roots)
    shares = {name: getattr(fit.params, name) + moved[i] for i, name in enumerate(PRIORS)}
    return replace(fit.params, **shares)


class HallRows:
    """Racks, hall and intakes of many rows with their parameters, ready to be stepped; new after a parameter moved.

    given: inlets are inputs; hall and intakes then stand still.
    """

    def __init__(self, members: Members, dt_s: float, *, given: bool) -> None:
        self.members, self.dt_s, self.given = members, dt_s, given
        self.reading_frac = thermal.reading_frac(members.rack.lag_s, dt_s)
        self.air, self.intakes = HallAir(members.hall, dt_s), Intakes(members.inlet, dt_s)

    def at_rest(self, known: Known) -> Moment:
        """Return all rows at rest with constant inputs, biases 0."""
        m = len(self.members.rack.flow_kw_per_k)
        racks = self._racks_at_rest(known, known.cold_c)
        intake = self.intakes.at_rest(known.cold_c, racks.rise_k, known.surplus)
        racks = self._racks_at_rest(known, self.intakes.inlet_c(intake) if known.inlet_c is None else known.inlet_c)
        heat = known.power_kw.sum(axis=1, keepdims=True)
        air = self.air.at_rest(heat, self._hot_flow(known), known.cold_c)
        none = np.zeros(racks.air_c.shape)
        return Moment(racks, air, intake, Bias(none, none.copy(), np.zeros((m, 1))))

    def _racks_at_rest(self, known: Known, inlet_c: Floats) -> Racks:
        rack = self.members.rack
        return racks_at_rest(rack, known.power_kw, known.speed_frac, inlet_c, len(rack.flow_kw_per_k))

    def _hot_flow(self, known: Known) -> Floats:
        members = self.members
        drawn = members.rack.flow_kw_per_k * known.speed_frac
        blown = members.hall.flow_kw_per_k * known.blown_frac
        return hot_flow_kw_per_k(drawn, blown, members.inlet.cold_share_frac)

    def step(self, moment: Moment, known: Known) -> None:
        """Step all rows by one cell in place; biases stay."""
        racks, rack = moment.racks, self.members.rack
        drawn = known.inlet_c
        if drawn is None:
            self.intakes.advance(moment.intake, known.cold_c, racks.rise_k, known.surplus)
            drawn = self.inlet_c(moment)
        cell = cell_of(rack, known.speed_frac, self.dt_s)
        out_kw = advance_racks(rack, cell, self.reading_frac, racks, known.power_kw, drawn, self.dt_s)
        if not self.given:
            flow = self._hot_flow(known)
            step = thermal.AirStep(*(c[0] for c in self.air.steps(flow[None])))
            self.air.advance(moment.air, step, out_kw.sum(axis=1, keepdims=True), flow, known.cold_c)

    def outlet_c(self, moment: Moment) -> Floats:
        """Return what the outlet sensors read (rows, racks)."""
        return moment.racks.reading_c + self.members.rack.offset_k + moment.bias.outlet_k

    def inlet_c(self, moment: Moment) -> Floats:
        """Return what the inlet sensors read (rows, racks)."""
        return self.intakes.inlet_c(moment.intake) + moment.bias.inlet_k

    def heat_kw(self, moment: Moment) -> Floats:
        """Return what the heat meter reads (rows, 1)."""
        return moment.air.read_kw + moment.bias.heat_kw


def joined(things: list[Any]) -> Any:
    """Return many of one kind (Members, Moment, or a part of them) as one, the rows one after the other."""
    first = things[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(things, axis=0)
    return type(first)(**{f.name: joined([getattr(t, f.name) for t in things]) for f in fields(first)})


def mean_of(thing: Any) -> Any:
    """Return the mean over the rows, as one row."""
    if isinstance(thing, np.ndarray):
        return thing.mean(axis=0, keepdims=True)
    return type(thing)(**{f.name: mean_of(getattr(thing, f.name)) for f in fields(thing)})


def copied(thing: Any, rows: int) -> Any:
    """Return a copy with `rows` rows in every array: those that had one row for all get one each."""
    if isinstance(thing, np.ndarray):
        return np.broadcast_to(thing, (rows, *thing.shape[1:])).copy()
    return type(thing)(**{f.name: copied(getattr(thing, f.name), rows) for f in fields(thing)})
