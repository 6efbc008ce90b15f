"""The schemes that are compared, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to train.

    Attributes:
        module: below `benchmarks.lens`, with `prepare(folder, **options)`.
        about: what it does.
        options: as it says.
    """

    module: str
    about: str
    options: Mapping[str, bool] = field(default_factory=dict)


OURS, RELEASED = "crosslatent", "released"

SCHEMES = {
    RELEASED: Scheme(
        "released",
        "two whole causal LMs; in every step both read both languages, all hidden states and "
        "logits included",
        {"logits": True},
    ),
    "no-logits": Scheme(
        "released", "the same without the heads, which the losses do not need", {"logits": False}
    ),
    OURS: Scheme("ours", "`crosslatent.lens.training.train`"),
}
