"""Units that a source may have meant instead of the one a mapping says, by unit of the channel."""

from __future__ import annotations

from dataclasses import dataclass

from twin.telemetry.conversions import conversion, per_second

# unit of the channel -> units people take for it, the usual ones first
_USUAL: dict[str, tuple[tuple[str, str], ...]] = {
    "C": (
        ("F", "degrees Fahrenheit"), ("0.1 C", "tenths of a degree"), ("K", "kelvin"), ("C", "degrees Celsius"),
        ("0.001 C", "thousandths of a degree"), ("0.01 C", "hundredths of a degree"), ("0.1 F", "tenths of Fahrenheit"),
    ),
    "kW": (
        ("W", "watts"), ("10 W", "hundredths of a kilowatt"), ("kW", "kilowatts"), ("0.1 kW", "tenths of a kilowatt"),
        ("0.1 W", "tenths of a watt"), ("mW", "milliwatts"), ("MW", "megawatts"), ("uW", "microwatts"),
    ),
    "fraction": (
        ("%", "percent"), ("fraction", "a fraction"), ("0.1 %", "tenths of percent"),
        ("0.01 %", "hundredths of percent"),
    ),
    "V": (
        ("0.1 V", "tenths of volts"), ("V", "volts"), ("mV", "millivolts"), ("0.01 V", "hundredths of volts"),
        ("kV", "kilovolts"),
    ),
    "A": (
        ("0.1 A", "tenths of amperes"), ("A", "amperes"), ("mA", "milliamperes"), ("0.01 A", "hundredths of amperes"),
    ),
    "Hz": (
        ("0.1 Hz", "tenths of hertz"), ("Hz", "hertz"), ("0.01 Hz", "hundredths of hertz"),
        ("0.001 Hz", "millihertz"),
    ),
    "MHz": (("MHz", "megahertz"), ("Hz", "hertz"), ("kHz", "kilohertz"), ("GHz", "gigahertz")),
    "s": (
        ("ns", "nanoseconds"), ("ms", "milliseconds"), ("s", "seconds"), ("min", "minutes"), ("us", "microseconds"),
        ("0.01 s", "hundredths of a second"), ("h", "hours"),
    ),
    "kPa": (
        ("Pa", "pascals"), ("kPa", "kilopascals"), ("bar", "bars"), ("mbar", "millibars"),
        ("psi", "pounds per square inch"),
    ),
    "rpm": (("rpm", "turns a minute"), ("0.1 rpm", "tenths of turns a minute"), ("10 rpm", "tens of turns a minute")),
    "L/min": (
        ("L/min", "litres a minute"), ("m3/h", "cubic metres an hour"), ("L/s", "litres a second"),
        ("gpm", "gallons a minute"),
    ),
}  # fmt: skip
_ENERGY = (
    ("mJ", "millijoules"), ("J", "joules"), ("kJ", "kilojoules"), ("Wh", "watt-hours"), ("kWh", "kilowatt-hours"),
    ("uJ", "microjoules"),
)  # fmt: skip
# units that exist and are seldom met: they have to fit better than the others
_RARE = frozenset(
    {"0.01 V", "0.01 A", "0.01 s", "0.01 C", "0.1 F", "0.1 W", "uW", "0.01 Hz", "0.001 Hz", "0.01 %", "uJ"}
)
_POWERS = ((-3, "thousandths"), (-2, "hundredths"), (-1, "tenths"), (1, "tens"), (2, "hundreds"), (3, "thousands"))


@dataclass(frozen=True)
class Slip:
    """One unit a number may be in: `unit` as a mapping writes it, its name, the line to the channel's unit."""

    unit: str
    said: str
    scale: float
    offset: float
    usual: bool = True


def slips_of(unit: str, counter: bool) -> list[Slip]:
    """Units to try for a channel of that unit, the usual ones first, then plain powers of ten."""
    found = []
    for theirs, said in _ENERGY if counter and unit == "kW" else _USUAL.get(unit, ()):
        line = conversion(per_second(theirs) if counter else theirs, unit)
        if line is not None:
            found.append(Slip(theirs, said, *line, usual=theirs not in _RARE))
    if unit in _USUAL and not counter and unit != "fraction":
        known = {(slip.scale, slip.offset) for slip in found}
        for power, said in _POWERS:
            if (10.0**power, 0.0) not in known:
                found.append(Slip(f"{10.0**power:g} {unit}", f"{said} of {unit}", 10.0**power, 0.0, usual=False))
    return found
