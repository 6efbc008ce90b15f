"""Settings of `culture`: the command and the Python function take them."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import MEASURES
from crosslatent.core.settings import Panel, Setting, count, several, whole
from crosslatent.core.specs import CHAT, CHAT_ARGS, PRESETS, TransplantSpec, check_component
from crosslatent.core.untrusted import nearest

MARKER = "culture.json"
"""What `culture` writes into its folder, by which a folder of an earlier call is recognised."""

CHOSEN = "pilot"
"""The pair is chosen on pilot questions."""


class CultureSettings(TypedDict, total=False):
    """What is measured, and under which transplant."""

    measures: Annotated[
        Sequence[str],
        several(
            "Which measures; all by default. A name such as bias means all that begin so.",
            "M,M",
            python="See `docs/culture.md`.",
            panel=Panel.CONDITIONS,
            known=MEASURES.names,
        ),
    ]
    countries: Annotated[
        Sequence[str],
        several("Countries, by name; all by default.", "C,C", panel=Panel.QUESTIONS),
    ]
    donors: Annotated[
        Sequence[str],
        several(
            "Languages of donor prompts of other countries; all by default.",
            "L,L",
            panel=Panel.CARRIED,
        ),
    ]
    component: Annotated[
        str | None,
        Setting("attn or ffn, with --source and --target.", "C", panel=Panel.CARRIED, rare=True),
    ]
    source: Annotated[
        int | None,
        Setting("Layer that is read, from 0.", "I", read=int, panel=Panel.CARRIED, rare=True),
    ]
    target: Annotated[
        int | None,
        Setting("Layer that it is put in.", "J", read=int, panel=Panel.CARRIED, rare=True),
    ]
    preset: Annotated[
        str | None,
        Setting(
            "A pair of the paper in place of one chosen on pilot questions.",
            "NAME",
            panel=Panel.CARRIED,
            known=PRESETS,
        ),
    ]
    method: Annotated[
        str | None,
        Setting(
            "A method of 'compare' in the place of the transplant, such as langvec-kh.",
            "NAME",
            panel=Panel.CONDITIONS,
            rare=True,
        ),
    ]
    quick: Annotated[
        bool,
        Setting(
            "Fewer pairs to choose from, and fewer forms of a question.",
            default=False,
            panel=Panel.CONDITIONS,
        ),
    ]
    limit: Annotated[
        int | None,
        count("The first N questions of each country and split.", "N", panel=Panel.QUESTIONS),
    ]
    seed: Annotated[
        int,
        Setting(
            "Of the split, of what is drawn, and of intervals.",
            "N",
            default=0,
            read=whole,
            panel=Panel.CHOICE,
            rare=True,
        ),
    ]
    max_new_tokens: Annotated[
        int | None,
        count(
            "Most new tokens of an answer; the task's by default.",
            "T",
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    batch_rows: Annotated[
        int | None,
        count("Rows per batch; what memory holds by default.", "N", panel=Panel.MACHINE, rare=True),
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]


def measure_names(asked: Sequence[str]) -> tuple[str, ...]:
    """Measures in the order of the card: stability first, as the others are read by it.

    Raises:
        UsageError: there is no such measure.
    """
    known = MEASURES.names()
    found: set[str] = set()
    for name in [*asked] or known:
        members = [one for one in known if one == name or one.startswith(f"{name}-")]
        if not members:
            raise UsageError(
                f"Unknown culture measure {name!r}{nearest(name, known)}: use one of "
                f"{', '.join(known)}."
            )
        found.update(members)
    order = {name: MEASURES[name].place for name in found}
    return tuple(sorted(found, key=lambda one: (order[one], one)))


def fixed_pair(asked: CultureSettings) -> TransplantSpec | None:
    """The pair that was given; None for one that is chosen on pilot questions.

    Raises:
        UsageError: a part of it is missing, or it is given twice.
        PairError: there is no such component or preset.
    """
    parts = {name: asked.get(name) for name in ("component", "source", "target")}
    given = {name: value for name, value in parts.items() if value is not None}
    ways = [name for name in ("preset", "method") if asked.get(name) is not None]
    if len(ways) + bool(given) > 1:
        several_ways = " and ".join([*ways, *(["component, source and target"] if given else [])])
        raise UsageError(f"The transplant is given by {several_ways}: give one of them.")
    if given and len(given) < len(parts):
        missing = [name for name in parts if name not in given]
        raise UsageError(
            f"The pair has {', '.join(given)} but no {' and no '.join(missing)}: give component, "
            "source and target, or none of them."
        )
    if given:
        component = check_component(str(parts["component"]))
        if component not in ("attn", "ffn"):
            raise UsageError(
                f"The component is {component!r}, but the card carries attn or ffn: give one of "
                "them."
            )
        return TransplantSpec(component, asked["source"] or 0, asked["target"] or 0)
    if asked.get("preset") is not None:
        name = str(asked["preset"])
        if name not in PRESETS:
            raise UsageError(
                f"Unknown preset {name!r}{nearest(name, PRESETS)}: use one of {', '.join(PRESETS)}."
            )
        return PRESETS[name]
    return None
