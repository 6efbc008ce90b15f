"""Selectors and attribution as flat tables; written by `report.tables`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from crosslatent.report.tables_evidence import Record, flat
from crosslatent.selectors import Choosing


def selectors(choosing: Choosing) -> Iterator[Record]:
    """Every selector, then the other ways to answer."""
    evaluation = choosing.evaluation
    if evaluation is None:
        return
    head = {"tune": evaluation.tune, "test": evaluation.test}
    for found in evaluation.selectors:
        yield {
            **head,
            "selector": found.name,
            **flat("accuracy", found.accuracy),
            **flat("gain", found.gain),
            **flat("recovered", found.recovered),
            **flat("over_shuffled", found.over_shuffled),
            **flat("strict_room", found.strict_room),
            **flat("difference", found.versus_pilot),
            "p": found.p_value,
            "p_holm": found.p_holm,
            "cost": found.cost,
            "abstained": found.abstained.value,
            "alike": " ".join(found.alike),
        }
    for other in evaluation.baselines:
        yield {
            **head,
            "selector": other.name,
            **flat("accuracy", other.accuracy),
            **flat("gain", other.gain),
            **flat("recovered", None),
            **flat("over_shuffled", None),
            **flat("strict_room", other.strict_room),
            **flat("difference", None),
            "p": None,
            "p_holm": None,
            "cost": other.cost,
            "abstained": None,
            "alike": "",
        }


def attribution(choosing: Choosing) -> Iterator[Record]:
    """What the pairs with the highest attribution scores would have found."""
    for result in choosing.attribution:
        for found in result.found:
            yield {
                "component": result.component,
                "split": result.split,
                "solvable": result.solvable,
                "k": found.k,
                **flat("found", found.attribution),
                **flat("random", found.random),
                **flat("fixed", found.fixed),
            }


TABLES_CHOOSING: Mapping[str, Callable[[Choosing], Iterator[Record]]] = {
    "selectors": selectors,
    "attribution": attribution,
}
"""Name of each table and where its rows come from."""
