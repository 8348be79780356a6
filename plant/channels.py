"""The one table of what can be measured. It drives parsing, checks, documentation and screens.

A row says: channel name, component kind, unit, physically possible range, usual cadence, meaning, and what the usual
sources call it. Ranges are wide on purpose: they refuse raw sensor codes and wrong units, not bad news.
Names of sources are theirs (field of a Telegraf plugin, DCGM field, Redfish property, IPMI sensor, NUT variable,
node_exporter metric); units of sources are converted by mapping files, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from plant.errors import TelemetryError
from plant.units import probable_slip, shown

SOURCES = ("telegraf", "dcgm", "redfish", "ipmi", "nut", "node_exporter")
REASONS = ("", "not_a_number", "below_range", "above_range", "unknown_channel")


@dataclass(frozen=True)
class Channel:
    """One thing that can be measured on one kind of component."""

    name: str
    kind: str
    unit: str
    low: float
    high: float
    cadence_s: float
    meaning: str
    aliases: Mapping[str, tuple[str, ...]] = field(hash=False)

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name, unique in the table."""
        return self.kind, self.name

    def reason(self, value: float) -> str | None:
        """Why a value is refused, one of REASONS, or None when it is possible."""
        if not np.isfinite(value):
            return REASONS[1]
        return REASONS[2] if value < self.low else REASONS[3] if value > self.high else None

    def sentence(self, value: float) -> str:
        """What is wrong with a value, for people: found, allowed and the probable slip of unit.

        >>> channel("rack", "inlet_c").sentence(295.15)
        '295.15 C is outside -20..90 C; looks like kelvin, that would be 22 C'
        """
        unit = f" {self.unit}" if self.unit not in ("fraction", "flag") else ""
        said = f"{shown(value)}{unit} is outside {shown(self.low)}..{shown(self.high)}{unit}"
        slip = probable_slip(value, self.unit, self.low, self.high) if np.isfinite(value) else None
        return f"{said}; looks like {slip[0]}, that would be {shown(slip[1])}{unit}" if slip else said


def _row(key: str, unit: str, low: float, high: float, cadence_s: float, meaning: str, **names: str) -> Channel:
    """One row of the table; `names` gives each source's names, several separated by a bar."""
    kind, name = key.split(".")
    aliases = MappingProxyType({source: tuple(text.split("|")) for source, text in names.items()})
    return Channel(name, kind, unit, low, high, cadence_s, meaning, aliases)


CHANNELS: tuple[Channel, ...] = (
    _row("region.outdoor_c", "C", -60, 60, 300, "outdoor dry-bulb temperature", telegraf="openweathermap.temperature"),
    _row("region.carbon_kgco2_per_kwh", "kgCO2/kWh", 0, 3, 300, "carbon intensity of the grid"),
    _row("region.power_kw", "kW", 0, 1e6, 15, "power of the whole region at the grid connection"),
    _row("hall.hot_c", "C", -20, 120, 15, "air in the hot aisle, before the cooling units"),
    _row("hall.supply_c", "C", -20, 90, 15, "air the cooling units deliver together"),
    _row("hall.power_kw", "kW", 0, 1e5, 15, "IT power of the hall"),
    _row("rack.inlet_c", "C", -20, 90, 15, "air at the front of the rack", telegraf="ipmi_sensor.inlet_temp",
         redfish="ThermalSubsystem.TemperatureReadingsCelsius.Intake", ipmi="Inlet Temp|Ambient Temp"),
    _row("rack.outlet_c", "C", -20, 120, 15, "air at the back of the rack", telegraf="ipmi_sensor.exhaust_temp",
         redfish="ThermalSubsystem.TemperatureReadingsCelsius.Exhaust", ipmi="Exhaust Temp|Outlet Temp"),
    _row("rack.power_kw", "kW", 0, 500, 15, "power of the rack at its PDUs", telegraf="snmp.pdu_power",
         redfish="PowerDistribution.Metrics.PowerWatts", nut="outlet.realpower"),
    _row("node.power_kw", "kW", 0, 250, 15, "power drawn by the node",
         telegraf="redfish_power_powercontrol.power_consumed_watts|ipmi_sensor.sys_power",
         redfish="EnvironmentMetrics.PowerWatts|PowerControl.PowerConsumedWatts",
         ipmi="DCMI Power Reading|Pwr Consumption",
         node_exporter="node_hwmon_power_average_watt"),
    _row("node.inlet_c", "C", -20, 90, 15, "air at the node's inlet",
         telegraf="redfish_thermal_temperatures.reading_celsius|ipmi_sensor.inlet_temp",
         redfish="ThermalMetrics.TemperatureSummaryCelsius.Intake", ipmi="Inlet Temp",
         node_exporter="node_hwmon_temp_celsius|node_thermal_zone_temp"),
    _row("node.util_frac", "fraction", 0, 1, 15, "share of its compute in use", telegraf="cpu.usage_active",
         dcgm="DCGM_FI_DEV_GPU_UTIL|DCGM_FI_PROF_GR_ENGINE_ACTIVE", redfish="ProcessorMetrics.BandwidthPercent",
         node_exporter="node_cpu_seconds_total|node_load1"),
    _row("node.gpu_c", "C", -20, 130, 15, "hottest accelerator", telegraf="nvidia_smi.temperature_gpu",
         dcgm="DCGM_FI_DEV_GPU_TEMP", redfish="ProcessorMetrics.TemperatureCelsius", ipmi="GPU Temp"),
    _row("node.gpu_mem_c", "C", -20, 130, 60, "memory of the hottest accelerator",
         telegraf="nvidia_smi.temperature_memory", dcgm="DCGM_FI_DEV_MEMORY_TEMP"),
    _row("node.fan_frac", "fraction", 0, 1, 60, "speed of its own fans as a share of full speed",
         telegraf="nvidia_smi.fan_speed", dcgm="DCGM_FI_DEV_FAN_SPEED"),
    _row("node.ok", "flag", 0, 1, 15, "1 while the node runs, 0 while it is stopped",
         redfish="ComputerSystem.PowerState", ipmi="Power State", node_exporter="up"),
    _row("psu.power_in_kw", "kW", 0, 60, 30, "power drawn by the power supply",
         telegraf="redfish_power_powersupplies.power_input_watts", redfish="PowerSupplyMetrics.InputPowerWatts",
         ipmi="PS1 Input Power|PSU Input Power"),
    _row("psu.ok", "flag", 0, 1, 30, "1 while the power supply delivers",
         redfish="PowerSupply.Status.Health", ipmi="PS1 Status|PSU Status",
         node_exporter="node_power_supply_online"),
    _row("cooling_unit.supply_c", "C", -20, 90, 15, "air the unit delivers", telegraf="modbus.supply_air_temp",
         redfish="CoolingUnit.SupplyTemperatureCelsius"),
    _row("cooling_unit.fan_frac", "fraction", 0, 1, 15, "fan speed as a share of full speed",
         telegraf="modbus.fan_speed"),
    _row("cooling_unit.running", "flag", 0, 1, 15, "1 while the unit moves air", telegraf="modbus.run_status"),
    _row("loop.supply_c", "C", -10, 90, 15, "water the loop supplies", telegraf="modbus.chw_supply_temp",
         redfish="CoolingLoop.SupplyTemperatureCelsius"),
    _row("loop.return_c", "C", -10, 100, 15, "water that comes back", telegraf="modbus.chw_return_temp",
         redfish="CoolingLoop.ReturnTemperatureCelsius"),
    _row("loop.flow_frac", "fraction", 0, 1.5, 15, "water flow as a share of nominal", telegraf="modbus.chw_flow",
         redfish="CoolingLoop.SupplyFlowLitersPerMinute"),
    _row("loop.pressure_kpa", "kPa", 0, 3000, 15, "differential pressure of the loop", telegraf="modbus.chw_dp",
         redfish="CoolingLoop.DeltaPressurekPa"),
    _row("chiller.running", "flag", 0, 1, 15, "1 while the compressor runs", telegraf="modbus.chiller_run_status"),
    _row("chiller.power_kw", "kW", 0, 20000, 15, "electric power of the chiller", telegraf="modbus.chiller_power"),
    _row("pump.running", "flag", 0, 1, 15, "1 while the pump moves water", telegraf="modbus.pump_run_status"),
    _row("cdu.running", "flag", 0, 1, 15, "1 while the unit moves coolant", telegraf="modbus.cdu_run_status",
         redfish="CoolantPump.Status.State"),
    _row("cdu.coolant_c", "C", -10, 90, 15, "coolant the unit supplies to its racks", telegraf="modbus.cdu_supply_temp",
         redfish="CoolingUnit.SecondaryCoolantConnectors.SupplyTemperatureCelsius"),
    _row("ups.load_frac", "fraction", 0, 2, 15, "load as a share of the installed rating",
         telegraf="upsd.load_percent|apcupsd.load_percent", nut="ups.load"),
    _row("ups.battery_frac", "fraction", 0, 1, 15, "energy left in the batteries",
         telegraf="upsd.battery_charge_percent|apcupsd.battery_charge_percent", nut="battery.charge",
         node_exporter="node_power_supply_capacity"),
    _row("ups.power_kw", "kW", 0, 1e5, 15, "power the UPS delivers", telegraf="upsd.real_power", nut="ups.realpower"),
    _row("feed.ok", "flag", 0, 1, 15, "1 while it carries power, be it its utility's or a generator's",
         telegraf="upsd.input_voltage", nut="ups.status|input.voltage"),
    _row("feed.power_kw", "kW", 0, 1e6, 15, "power taken from the feed", telegraf="modbus.meter_power"),
    _row("link.errors", "1/s", 0, 1e9, 30, "received frames in error, each second",
         telegraf="net.err_in|infiniband.symbol_error", dcgm="DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
         redfish="PortMetrics.RXErrors",
         node_exporter="node_network_receive_errs_total|node_infiniband_port_receive_errors_total"),
    _row("link.ok", "flag", 0, 1, 30, "1 while the link is up", telegraf="ethtool.link_up",
         redfish="Port.LinkStatus", node_exporter="node_network_up"),
)  # fmt: skip

_BY_KEY: dict[tuple[str, str], Channel] = {row.key: row for row in CHANNELS}
CHANNEL_KINDS: tuple[str, ...] = tuple(dict.fromkeys(row.kind for row in CHANNELS))


def channel(kind: str, name: str) -> Channel:
    """The row of one channel. Raises TelemetryError that names the channels of the kind."""
    row = _BY_KEY.get((kind, name))
    if row is None:
        known = " ".join(row.name for row in channels_of(kind)) or f"none; kinds are {' '.join(CHANNEL_KINDS)}"
        raise TelemetryError(f"channel {kind}.{name}", "no such channel", f"channels of {kind}: {known}")
    return row


def channels_of(kind: str) -> tuple[Channel, ...]:
    """All channels of a component kind, in table order."""
    return tuple(row for row in CHANNELS if row.kind == kind)


def check(kind: str, name: str, value: float) -> str | None:
    """Why a reading is refused, one of REASONS, or None when it may be stored.

    >>> check("rack", "inlet_c", 412.0)
    'above_range'
    """
    row = _BY_KEY.get((kind, name))
    return REASONS[4] if row is None else row.reason(value)


def check_many(kind: str, name: str, values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Code of each value, an index into REASONS; 0 may be stored. Same shape as `values`.

    >>> check_many("node", "util_frac", np.array([0.5, 1.5, np.nan])).tolist()
    [0, 3, 1]
    """
    row = _BY_KEY.get((kind, name))
    if row is None:
        return np.full(np.shape(values), 4, dtype=np.uint8)
    codes = np.zeros(np.shape(values), dtype=np.uint8)
    codes[values < row.low] = 2
    codes[values > row.high] = 3
    codes[~np.isfinite(values)] = 1
    return codes


def named_by(source: str, alias: str) -> tuple[Channel, ...]:
    """Channels that a source calls `alias`: none, one, or several when the name alone does not decide the kind."""
    return tuple(row for row in CHANNELS if alias in row.aliases.get(source, ()))
