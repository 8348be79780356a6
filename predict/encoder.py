"""The trained network in plain NumPy: an LSTM over a window, a kind embedding, a hazard head. No torch needed.

The weights carry torch's names and layout (gates i, f, g, o); `predict/model.py` is the same network in torch and its
oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Weights = Mapping[str, NDArray[np.floating]]

SHAPES: dict[str, tuple[str, ...]] = {
    "lstm.weight_ih_l0": ("4h", "x"),
    "lstm.weight_hh_l0": ("4h", "h"),
    "lstm.bias_ih_l0": ("4h",),
    "lstm.bias_hh_l0": ("4h",),
    "kind.weight": ("kinds", "e"),
    "head.weight": ("k", "h+e+s"),
    "head.bias": ("k",),
}


class Encoder:
    """Hazard logits of many windows at once."""

    def __init__(self, weights: Weights, dtype: type = np.float32) -> None:
        self.dtype = dtype
        w = {name: np.asarray(weights[name], dtype) for name in SHAPES}
        self.hidden = w["lstm.weight_hh_l0"].shape[1]
        # sigmoid(x) = (1 + tanh(x/2)) / 2: with the halves folded into the weights one tanh serves all four gates
        half = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], dtype), self.hidden)
        self.w_x = np.ascontiguousarray((w["lstm.weight_ih_l0"] * half[:, None]).T)
        self.w_h = np.ascontiguousarray((w["lstm.weight_hh_l0"] * half[:, None]).T)
        self.bias = (w["lstm.bias_ih_l0"] + w["lstm.bias_hh_l0"]) * half
        self.kind = w["kind.weight"]
        self.w_head, self.b_head = np.ascontiguousarray(w["head.weight"].T), w["head.bias"]

    def logits(self, window: ArrayLike, kind: NDArray[np.int64], now: ArrayLike) -> NDArray[np.floating]:
        """Return hazard logits (n, bins) of windows (steps, n, inputs), kinds (n,), features of the moment (n, s)."""
        steps = np.asarray(window, self.dtype)
        code = self._encode(steps)
        joined = np.concatenate([code, self.kind[kind], np.asarray(now, self.dtype)], axis=1)
        return np.asarray(joined @ self.w_head + self.b_head)

    def _encode(self, steps: NDArray[np.floating]) -> NDArray[np.floating]:
        """Run the LSTM over steps (steps, n, inputs) and return its last hidden state (n, hidden)."""
        size, (count, rows, width) = self.hidden, steps.shape
        fed = (steps.reshape(count * rows, width) @ self.w_x + self.bias).reshape(count, rows, 4 * size)
        hidden, cell = np.zeros((rows, size), self.dtype), np.zeros((rows, size), self.dtype)
        gates = np.empty((rows, 4 * size), self.dtype)
        for step in range(count):
            np.matmul(hidden, self.w_h, out=gates)
            gates += fed[step]
            np.tanh(gates, out=gates)
            enter, keep, new, show = (gates[:, i * size : (i + 1) * size] for i in range(4))
            cell = 0.5 * ((1 + keep) * cell + (1 + enter) * new)
            hidden = 0.5 * (1 + show) * np.tanh(cell)
        return hidden


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-logits)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits.astype(float))))
