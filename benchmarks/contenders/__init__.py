"""The contenders, registered in one place; each is a module with one function, `prepare`."""

from __future__ import annotations

from dataclasses import dataclass

OURS = "crosslatent"
"""The contender that the others are compared with."""

REFERENCE = "hooks"
"""The contender whose answers the others must give."""

LIMIT = "limit"
"""The contender that makes no run."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One scheme.

    Attributes:
        name: in tables and on the command line.
        module: under `benchmarks.contenders`; has `prepare(folder)`.
        about: one line for the table of schemes.
        packages: what its own virtual environment holds beside torch; none: this interpreter's.
        by_pair: it answers one pair at a time, so a sample of pairs can stand for all.
        expands: it holds the prompt's keys and values once per row.
        optional: runs only when asked for by name.
    """

    name: str
    module: str
    about: str
    packages: tuple[str, ...] = ()
    by_pair: bool = False
    expands: bool = False
    optional: bool = False


_ALL = (
    Contender("authors", "authors", "aux and main through the model for every pair", by_pair=True),
    Contender("hooks", "hooks", "plain hooks, aux once, a pair at a time", by_pair=True),
    Contender(
        "nnsight",
        "nnsight_pairs",
        "nnsight, aux once, a pair at a time",
        packages=("nnsight==0.8.1", "transformers==5.23.0"),
        by_pair=True,
    ),
    Contender(
        "nnsight-batched",
        "nnsight_batched",
        "nnsight, all pairs as one batch of repeated prompts",
        packages=("nnsight==0.8.1", "transformers==5.23.0"),
    ),
    Contender(
        "nnsight-expanded",
        "nnsight_expanded",
        "nnsight, all pairs as one batch over an expanded cache made by hand",
        packages=("nnsight==0.8.1", "transformers==5.23.0"),
        expands=True,
    ),
    Contender(
        "pyvene",
        "pyvene_batched",
        "pyvene, all pairs as one batch over an expanded cache made by hand",
        packages=("pyvene==0.1.8", "transformers==5.23.0"),
        expands=True,
    ),
    Contender(
        "transformer-lens",
        "transformer_lens_batched",
        "TransformerLens' bridge, all pairs as one batch over an expanded cache made by hand",
        packages=("transformer-lens==4.3.0", "transformers==5.23.0"),
        expands=True,
    ),
    Contender(
        "hooked-transformer",
        "hooked_transformer",
        "TransformerLens 2, all pairs as one batch over an expanded cache made by hand",
        # pyarrow: the last one that takes the NumPy 1 which TransformerLens 2 asks for
        packages=("transformer-lens==2.18.0", "transformers==4.57.6", "pyarrow==21.0.0"),
        expands=True,
        optional=True,
    ),
    Contender(
        "expanded",
        "expanded",
        "plain transformers by hand, all pairs as one batch over an expanded cache",
        expands=True,
    ),
    Contender(OURS, "engine", "this package's engine"),
    Contender(LIMIT, "limit", "counted operations at the measured rate of matrix products"),
)

CONTENDERS = {contender.name: contender for contender in _ALL}
