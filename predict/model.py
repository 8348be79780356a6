"""The network in torch: what `predict/encoder.py` computes, with gradients. Imported only where a model is trained."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid


class HazardNet(pl.LightningModule):
    """LSTM encoder, component-kind embedding and one hazard logit for each bin of the horizon."""

    def __init__(
        self, inputs: int, moment: int, kinds: int, bins: int, hidden: int = 32, embed: int = 4, rate: float = 3e-3
    ) -> None:
        super().__init__()
        self.rate = rate
        self.epochs = 1
        self.lstm = nn.LSTM(inputs, hidden)
        self.kind = nn.Embedding(kinds, embed)
        self.head = nn.Linear(hidden + embed + moment, bins)

    def start_from(self, hazards: Tensor) -> None:
        """Begin at the base rate (bins,): the network then only has to learn what departs from it."""
        with torch.no_grad():
            self.head.bias.copy_(torch.logit(hazards))
            self.head.weight.mul_(0.1)

    def forward(self, window: Tensor, kind: Tensor, moment: Tensor) -> Tensor:
        """Return hazard logits (n, bins) of windows (steps, n, inputs), kinds (n,), moments (n, s)."""
        _, (code, _) = self.lstm(window)
        return self.head(torch.cat([code[-1], self.kind(kind), moment], dim=1))

    def training_step(self, batch: tuple[Tensor, ...], _index: int) -> Tensor:
        """Weighted negative log-likelihood of discrete-time survival; batch windows come as (n, steps, inputs)."""
        window, kind, moment, survived, failed, weight = batch
        logits = self(window.transpose(0, 1).contiguous(), kind, moment)
        loss = -(survived * logsigmoid(-logits) + failed * logsigmoid(logits)).sum(dim=1)
        return (weight * loss).mean()

    def configure_optimizers(self) -> dict[str, object]:
        """Adam with one cosine over the whole training."""
        optimiser = torch.optim.Adam(self.parameters(), lr=self.rate, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(1, self.epochs))
        return {"optimizer": optimiser, "lr_scheduler": schedule}
