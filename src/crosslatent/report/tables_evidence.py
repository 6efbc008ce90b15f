"""Tests, layers, languages, stability and claims as flat tables; written by `report.tables`."""

from __future__ import annotations

from collections.abc import Iterator

from crosslatent.analysis.evidence import Corrected, PairEffect, Significance
from crosslatent.analysis.results import RunSummary, Summary
from crosslatent.stats import Estimate

Cell = str | int | float | bool | None
Record = dict[str, Cell]


def flat(name: str, estimate: Estimate | None) -> Record:
    """An estimate as columns: value, interval, n, clusters, seed; empty ones if it is missing."""
    return {
        name: estimate.value if estimate else None,
        f"{name}_low": estimate.low if estimate else None,
        f"{name}_high": estimate.high if estimate else None,
        f"{name}_n": estimate.n if estimate else 0,
        f"{name}_clusters": estimate.clusters if estimate else 0,
        f"{name}_seed": estimate.seed if estimate else 0,
    }


def _test(test: Corrected) -> Record:
    return {
        "p": test.p_value,
        "p_holm": test.holm,
        "p_bh": test.benjamini_hochberg,
        "family": test.family,
        "tests": test.tests,
    }


def over_controls(run: RunSummary) -> Iterator[Record]:
    """The upper bound beside every control that knows no answer."""
    for one in run.over_controls:
        for rival in one.rivals:
            yield {
                "component": one.component,
                "control": rival.control,
                "strongest": rival == one.strongest,
                **flat("true", rival.true),
                **flat("control_union", rival.union),
                **flat("difference", rival.difference),
                "p": rival.test.p_two_sided,
                "permutations": rival.test.permutations,
            }


def significance(run: RunSummary) -> Iterator[Record]:
    """Tests and effect sizes of the picked pairs."""
    for test in run.significance:
        yield _effect(test, test.overall, declared=test.declared, without_shared=False)
        for effect in test.by_language:
            yield _effect(test, effect, declared=False, without_shared=False)
        if test.shared is not None and test.shared.without is not None:
            yield _effect(test, test.shared.without, declared=False, without_shared=True)


def _effect(
    test: Significance, effect: PairEffect, *, declared: bool, without_shared: bool
) -> Record:
    odds, size = effect.odds_ratio, effect.cohens_h
    return {
        "component": test.component,
        "split": effect.split,
        "lang": effect.lang,
        "declared": declared,
        "without_shared_facts": without_shared,
        **flat("gain", effect.gain),
        "repaired": odds.repaired,
        "broken": odds.broken,
        **_test(effect.test),
        "p_test": effect.method,
        "cohens_h": size.value,
        "cohens_h_from": size.low,
        "cohens_h_to": size.high,
        "odds_ratio": odds.value,
        "odds_ratio_from": odds.low,
        "odds_ratio_to": odds.high,
        "detectable": effect.detectable.value,
    }


def layer_tests(run: RunSummary) -> Iterator[Record]:
    """Unions of every layer against the strongest control."""
    for one in run.layer_tests:
        yield {
            "component": one.component,
            "control": one.control,
            "side": one.side,
            "layer": one.layer,
            **flat("difference", one.difference),
            **_test(one.test),
        }


def layers(run: RunSummary) -> Iterator[Record]:
    """Mean and marginal gain of every layer."""
    for profile in run.layers:
        sides = (
            ("source", profile.by_source, profile.effective_sources, profile.source_share),
            ("target", profile.by_target, profile.effective_targets, profile.target_share),
        )
        for side, gains, effective, share in sides:
            for one in gains:
                yield {
                    "component": profile.component,
                    "side": side,
                    "layer": one.layer,
                    **flat("mean_gain", one.mean),
                    **flat("margin", one.margin),
                    "effective_layers": effective,
                    "share_of_variance": share,
                }


def stability(run: RunSummary) -> Iterator[Record]:
    """Agreement of halves, and how often the picked pair wins again."""
    picks = {one.component: one for one in run.pick_stability}
    for one in run.grid_stability:
        pick = picks.get(one.component)
        yield {
            "component": one.component,
            "split_half": one.halves.value,
            "split_half_from": one.halves.low,
            "split_half_to": one.halves.high,
            "spearman_brown": one.halves.full,
            "cells": one.halves.cells,
            "n": one.halves.n,
            "clusters": one.halves.clusters,
            "seed": one.halves.seed,
            "pair": f"{pick.pair[0]}-{pick.pair[1]}" if pick else None,
            "wins_again": pick.share if pick else None,
            "same_source": pick.same_source if pick else None,
            "same_target": pick.same_target if pick else None,
            "resamples": pick.resamples if pick else None,
        }


def languages(run: RunSummary) -> Iterator[Record]:
    """Every language's figures beside its traits."""
    for one in run.languages:
        yield {
            "component": one.component,
            "lang": one.lang,
            "other": one.other,
            "typological_distance": one.typological_distance,
            "same_script": one.same_script,
            "text_overlap": one.text_overlap,
            "resource_class": one.resource_class,
            **flat("gain", one.gain),
            **flat("over_control", one.over_control),
        }


def correlations(run: RunSummary) -> Iterator[Record]:
    """Rank correlations over languages."""
    for one in run.correlations:
        yield {
            "component": one.component,
            "figure": one.figure,
            "trait": one.trait,
            "spearman": one.rho,
            "languages": one.languages,
            **_test(one.test),
            "permutations": one.permutations,
            "seed": one.seed,
            "missing": one.missing,
        }


def spelling(run: RunSummary) -> Iterator[Record]:
    """Gains of open questions by whether the right answer is spelled alike in both languages."""
    for one in run.spelling:
        for spelled, group in (("same", one.same), ("different", one.other)):
            yield {
                "component": one.component,
                "split": one.split,
                "in_sample": one.in_sample,
                "spelled": spelled,
                **flat("vanilla", group.vanilla),
                **flat("gain", group.gain),
                **flat("shuffled_gain", group.donor),
                **flat("over_shuffled", group.over_donor),
                **flat("same_minus_different", one.difference),
                "languages": " ".join(f"{lang} {n}" for lang, n in group.languages.items()),
                "not_known": one.unknown,
            }


def modules(summary: Summary) -> Iterator[Record]:
    """The claim about attention and feed-forward, measure by measure."""
    if summary.modules is None:
        return
    for half in summary.modules.halves:
        for one in half.measures:
            yield {
                "type": half.type,
                "predicted": half.predicted,
                "measure": one.measure,
                **flat("gain_attn", one.attn),
                **flat("gain_ffn", one.ffn),
                **flat("difference", one.difference),
                **_test(one.test),
                "margin": one.margin,
                "outcome": one.outcome,
                "verdict_of_type": half.verdict,
                "verdict": summary.modules.verdict,
            }


def repeats(summary: Summary) -> Iterator[Record]:
    """Runs of one task on one model, two by two."""
    for one in summary.repeats:
        found = one.agreement
        yield {
            "task": one.task,
            "run": one.runs[0],
            "other_run": one.runs[1],
            "differs": one.differs,
            "component": one.component,
            "spearman": found.value,
            "spearman_from": found.low,
            "spearman_to": found.high,
            "largest_difference": one.largest,
            "cells": found.cells,
            "n": found.n,
            "clusters": found.clusters,
            "seed": found.seed,
            "same_pick": None if one.picked is None else one.picked[0] == one.picked[1],
        }
