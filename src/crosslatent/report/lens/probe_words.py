"""What a probe shows, in sentences that come out of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosslatent.core.specs import FINAL, Layer
from crosslatent.lens.space import Space
from crosslatent.report import formatting
from crosslatent.report.drawing import layer_name
from crosslatent.report.lens.marks import isolated, name
from crosslatent.report.lens.views import DRAWN_TEXTS, LayerView, outside
from crosslatent.report.safe import printable
from crosslatent.stats import Estimate


def after(layer: Layer) -> str:
    """Where a state is read: ``after block 3``."""
    return f"after the {layer_name(layer)}" if layer == FINAL else f"after {layer_name(layer)}"


def of_language(code: str) -> str:
    """Name of a language inside a sentence."""
    return isolated(name(code))


def summary(space: Space, views: Sequence[LayerView]) -> list[str]:
    """The sentences that a probe's page opens with."""
    return [_between(views), _separability(views), _texts(space), *_left_out(space)]


def _between(views: Sequence[LayerView]) -> str:
    measured = [(view.between, view) for view in views if view.between is not None]
    if not measured:
        return "How much of the variance of single states lies between languages is not known."
    most, where = max(measured, key=lambda pair: pair[0])
    least, nowhere = min(measured, key=lambda pair: pair[0])
    if len(measured) == 1 or most - least < 5e-4:
        return (
            f"In every layer {formatting.percent(most)} of the variance of single states lies "
            "between "
            "languages."
        )
    return (
        f"Languages differ most {after(where.layer)}: {formatting.percent(most)} of the variance "
        "of "
        f"single states lies between the languages’ means there, and least {after(nowhere.layer)}, "
        f"with {formatting.percent(least)}."
    )


def _separability(views: Sequence[LayerView]) -> str:
    rule = (
        "linear" if any(one.separability and one.separability.linear for one in views) else "full"
    )
    found = [
        (view.layer, accuracy, view.separability.chance)
        for view in views
        if view.separability is not None
        and (accuracy := getattr(view.separability, rule)) is not None
    ]
    known = [(layer, full, chance) for layer, full, chance in found if full.value is not None]
    if not known:
        return (
            "Whether a linear rule can tell the languages apart was not measured: no texts were "
            "held out."
        )
    above = sum(_above(full, chance) for _, full, chance in known)
    layer, best, chance = max(known, key=lambda one: one[1].value or 0.0)
    ties = sum(full.value == best.value for _, full, _ in known)
    where = after(layer)
    if ties > 1:
        where += f" and in {formatting.count(ties - 1, 'other layer')} as well"
    luck = f" ({_luck(len(known))})" if ties == 1 and len(known) > 1 else ""
    what = {
        "linear": "that is learned from other texts",
        "full": "the nearest mean of other texts,",
    }
    return (
        f"A linear rule {what[rule]} names the language of a text right most often {where}: "
        f"{share(best)}{luck}, where guessing gives "
        f"{formatting.percent(chance)}. {_how_many(above, len(known))}{_by_means(views, rule)}"
    )


def _by_means(views: Sequence[LayerView], rule: str) -> str:
    """The best of the nearest mean, beside the learned rule."""
    found = [
        (accuracy.value, view.layer, accuracy)
        for view in views
        if rule == "linear" and view.separability and (accuracy := view.separability.full)
        if accuracy.value is not None
    ]
    if not found:
        return _specific(views)
    _, layer, best = max(found, key=lambda one: one[0])
    return f" The nearest mean alone gets {share(best)}, {after(layer)}.{_specific(views)}"


def _specific(views: Sequence[LayerView]) -> str:
    """The best of the specific subspace alone, where that can differ."""
    found = [
        (view.separability.specific.value, view)
        for view in views
        if view.separability is not None
        and view.separability.specific is not None
        and view.separability.specific != view.separability.full
        and view.separability.specific.value is not None
    ]
    if not found:
        return ""
    _, best = max(found, key=lambda pair: pair[0])
    measured = best.separability.specific if best.separability is not None else None
    return f" In the specific subspace alone it does best {after(best.layer)}: {share(measured)}."


def _luck(layers: int) -> str:
    return f"the best of {layers} layers, so a little of it is luck"


def _how_many(above: int, known: int) -> str:
    if not above:
        return "In no layer could it be shown to do better than guessing."
    if above == known:
        return "It does better than guessing in every layer."
    return f"It does better than guessing in {above} of {known} layers."


def _above(full: Estimate, chance: float) -> bool:
    if full.low is not None:
        return full.low > chance
    # Without variation every text is right, or every one is wrong.
    return full.value is not None and full.value > chance and full.clusters > 5


def share(estimate: Estimate | None) -> str:
    """A share of held-out texts with its interval and n."""
    if estimate is None or estimate.value is None:
        return "not measured"
    texts = formatting.count(estimate.n, "text")
    if estimate.low is None and estimate.value == 1:
        return f"every one of {texts}"
    return f"{formatting.with_interval(estimate, difference=False)}, n = {texts}"


def _texts(space: Space) -> str:
    record = space.record
    fitted, held = sum(record.texts.values()), sum(record.held_out.values())
    state = (
        "the state of the last token of each text"
        if record.pooling == "last"
        else "the mean state over the tokens of each text"
    )
    model = (
        f" of {isolated(printable(str(record.model['name'])))}" if record.model.get("name") else ""
    )
    beside = f"; {_range(record.held_out)} were held out" if held else "; none were held out"
    chat = ", put through the chat template," if record.chat else ""
    return (
        f"The means are of {formatting.count(fitted, 'text')} in {len(space.languages)} languages "
        f"({_range(record.texts)} a language{beside}){chat} read as {state}{model}. "
        f"Seed of the split: {record.seed}."
    )


def _left_out(space: Space) -> list[str]:
    record, found = space.record, []
    limit = "the model’s context" if record.max_tokens is None else f"{record.max_tokens:,} tokens"
    if any(record.cut.values()):
        found.append(f"Longer than {limit} and cut there: {_by_language(record.cut)}.")
    else:
        found.append("No text was cut.")
    if any(record.empty.values()):
        found.append(f"Empty and left out: {_by_language(record.empty)}.")
    if space.points is not None:
        more = {
            lang: space.points.langs.count(lang)
            for lang in space.languages
            if space.points.langs.count(lang) > DRAWN_TEXTS
        }
        if more:
            found.append(
                f"Figures draw the first {DRAWN_TEXTS} held-out texts of a language and leave out "
                f"{formatting.count(sum(more.values()) - DRAWN_TEXTS * len(more), 'text')}; the "
                "numbers use all of them."
            )
    return [" ".join(found)]


def _by_language(counts: Mapping[str, int]) -> str:
    return formatting.listing(
        f"{formatting.count(count, 'text')} in {of_language(lang)}"
        for lang, count in counts.items()
        if count
    )


def _range(counts: Mapping[str, int]) -> str:
    low, high = min(counts.values(), default=0), max(counts.values(), default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def of_layer(view: LayerView) -> list[str]:
    """What is known of one layer, as short facts."""
    facts, left = [], outside(view)
    if view.between is not None:
        facts.append(f"{formatting.percent(view.between)} of the variance lies between languages")
    measured = view.separability
    if measured is not None and measured.linear is not None:
        facts.append(f"texts classified by a learned rule: {share(measured.linear)}")
    if measured is not None and measured.full is not None:
        facts.append(f"by the nearest mean: {share(measured.full)}")
    if measured is not None and measured.specific not in (None, measured.full):
        facts.append(f"in the specific subspace alone: {share(measured.specific)}")
    if left:
        facts.append(f"{formatting.count(left, 'drawn text')} outside the picture")
    return facts
