"""The stated interval: quantiles of past standardised errors, moved a little by every reading that falls outside.

    said 80 % interval of forecast i = mean(i) + [low(i), high(i)] sd(i);   z = (measured - mean) / sd
    low  -= rate (1[z < low] - 0.1),     high += rate (1[z > high] - 0.1)

These are online quantiles (Robbins and Monro 1951). Only outcomes known when a forecast is made move its interval.
In the long run a tenth of the readings falls below and
a tenth above, whatever the errors look like (Gibbs and Candes 2021, arXiv 2106.00170). Nothing of the test window is
used beforehand: the quantiles start from the fit window, out of fold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TAIL = 0.1
RATE = 0.005  # of a standard deviation per reading: a day of readings may move an end by some of them [assumed]
START = (-1.2816, 1.2816)  # of a normal distribution, where the fit window says nothing


def start_of(z: Floats) -> tuple[float, float]:
    """Return the ends to start from: quantiles of standardised errors seen before; NaN are left out."""
    known = z[np.isfinite(z)]
    if len(known) < 100:
        return START
    low, high = np.quantile(known, [TAIL, 1.0 - TAIL])
    return float(low), float(high)


def follow(z: Floats, steps: int, start: tuple[float, float], rate: float = RATE) -> tuple[Floats, Floats]:
    """Return low and high (n,) for forecasts made `steps` earlier, from their standardised errors z (n,).

    NaN errors (no reading, no forecast) move nothing.
    """
    low, high = start
    lows, highs = np.empty(len(z)), np.empty(len(z))
    values = z.tolist()
    for j in range(len(z)):
        known = j - steps
        if known >= 0 and values[known] == values[known]:  # not NaN
            low -= rate * ((values[known] < lows[known]) - TAIL)
            high += rate * ((values[known] > highs[known]) - TAIL)
            low, high = min(low, high), max(low, high)
        lows[j], highs[j] = low, high
    return lows, highs
