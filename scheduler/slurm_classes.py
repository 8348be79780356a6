"""Which class of work a Slurm job is: rules over partition, name, user, account, QOS, comment and features.

Slurm knows no classes. The first rule that fits decides; the shipped rules know usual words; a job with accelerators is
training, any other scientific work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plant.errors import ConfigError
from plant.references import did_you_mean
from plant.workload import JOB_CLASSES

FIELDS = ("partition", "name", "user", "account", "qos", "comment", "features", "reservation")
CLASSES = tuple(one.name for one in JOB_CLASSES)


@dataclass(frozen=True)
class ClassRule:
    """`FIELD:REGEX=CLASS`; `any` looks at partition, name, account, QOS and comment."""

    field: str
    pattern: re.Pattern[str]
    job_class: str

    @classmethod
    def parse(cls, text: str) -> ClassRule:
        """The rule of one setting. Raises ConfigError."""
        head, _, name = text.rpartition("=")
        field, colon, pattern = head.partition(":")
        allowed = f"FIELD:REGEX=CLASS, FIELD of any {' '.join(FIELDS)}, CLASS of {' '.join(CLASSES)}"
        if not colon or field not in ("any", *FIELDS) or name not in CLASSES:
            cure = did_you_mean(name, CLASSES) or did_you_mean(field, FIELDS)
            raise ConfigError("scheduler.classes", f"'{text}'", allowed, cure)
        try:
            return cls(field, re.compile(pattern, re.IGNORECASE), name)
        except re.error as error:
            raise ConfigError("scheduler.classes", f"'{pattern}' is no pattern: {error}", allowed) from None

    def fits(self, told: Mapping[str, str]) -> bool:
        """Tell whether the rule speaks of a job with these words."""
        where = ("partition", "name", "account", "qos", "comment") if self.field == "any" else (self.field,)
        return any(self.pattern.search(told.get(field, "")) for field in where)


SHIPPED: tuple[ClassRule, ...] = tuple(
    ClassRule.parse(text)
    for text in (
        r"any:infer|serving|\bserve|vllm|triton|\btgi\b=inference",
        r"any:train|finetune|fine-tune|\bllm\b|\bsft\b|\brlhf\b=training",
        r"any:spark|hadoop|\bdask\b|\betl\b|flink=big_data",
        r"any:\bweb\b|nginx|\bportal\b|\bproxy\b=web",
    )
)


def class_of(told: Mapping[str, str], gpus: float, rules: Sequence[ClassRule] = ()) -> str:
    """The class of a job with these words and accelerators; `rules` come before the shipped ones."""
    for rule in (*rules, *SHIPPED):
        if rule.fits(told):
            return rule.job_class
    return "training" if gpus > 0 else "scientific"
