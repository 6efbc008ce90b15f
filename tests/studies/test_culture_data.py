"""The card on released data, where it is here: every figure equals a direct computation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

import crosslatent as xl
from crosslatent.model import load
from crosslatent.runs.reader import RunReader
from support.models import save_tiny

BESIDE = Path(__file__).parents[3] / "shared" / "data"
BLEND = Path(os.environ.get("CROSSLATENT_BLEND", BESIDE / "blend"))
DATA = Path(os.environ.get("CROSSLATENT_DATA", BESIDE / "xtransplant"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("models") / "m", max_position_embeddings=4096)
    return load(str(folder), device="cpu", dtype="float32")


def rows(out, task, where):
    con = RunReader(out / "runs" / task).connect()
    columns = "r.*, i.shares, i.labels, i.strata, i.split"
    query = f"SELECT {columns} FROM rows r JOIN items i USING (item) WHERE {where}"
    return con.execute(query).df().to_dict("records")


@pytest.mark.skipif(not (BLEND / "annotations").is_dir(), reason="BLEnD is not here")
def test_blend(model, tmp_path):
    card = xl.culture(
        model, ["blend"], data=BLEND, out=tmp_path / "card", quick=True, limit=20,
        countries=["Ethiopia", "China", "Mexico"], preset="culture", max_new_tokens=4,
    )  # fmt: skip
    result = card.result.measure("knowledge")
    where = "r.control = 'vanilla' AND i.split = 'unseen'"
    found = rows(tmp_path / "card", "blend", where)
    scores: dict[str, list[float]] = {}
    for row in found:
        scores.setdefault(row["strata"]["country"], []).append(row["scores"].get("votes", np.nan))
    means = {country: float(np.mean(some)) for country, some in scores.items()}
    assert result.pooled.vanilla.value == pytest.approx(np.mean(list(means.values())))
    assert {one.country for one in result.rows if one.country} == set(means)
    strayed = card.result.measure("wrong-country")
    assert strayed is None or 0 <= strayed.pooled.vanilla.value <= 1


@pytest.mark.skipif(not (DATA / "GlobalOpinionQA").is_dir(), reason="the pilot is not here")
def test_opinions(model, tmp_path):
    card = xl.culture(
        model, ["globalopinionqa"], data=DATA, out=tmp_path / "card", quick=True, limit=12,
        countries=["Kenya", "Germany"], preset="culture", max_new_tokens=2,
    )  # fmt: skip
    result = card.result.measure("similarity")
    where = "r.control = 'vanilla'"  # so few are divided into folds: all are tested on
    record = RunReader(tmp_path / "card" / "runs" / "globalopinionqa").manifest["status"]["culture"]
    turned = next(
        one["key"][-1]
        for one in record["conditions"]
        if (one["name"], one["form"]) == ("vanilla", "order:1")
    )
    other = {
        row["item"]: probabilities(row)[::-1]
        for row in rows(tmp_path / "card", "globalopinionqa", f"r.condition = '{turned}'")
    }
    missing = ("don't know", "no answer", "dk/refused")
    found: dict[str, list[float]] = {}
    for row in rows(tmp_path / "card", "globalopinionqa", where):
        labels = [label.casefold().strip() for label in row["labels"]]
        kept = [
            k for k, label in enumerate(labels)
            if label not in missing and not label.startswith(("missing;", "other missing"))
        ]  # fmt: skip
        orders = [probabilities(row)[kept]]
        if row["item"] in other:
            orders.append(other[row["item"]][kept])
        said = np.mean([one / one.sum() for one in orders], axis=0)
        people = np.array(row["shares"])[kept]
        near = 1 - jensenshannon(said, people / people.sum(), base=2)
        found.setdefault(row["strata"]["country"], []).append(near)
    means = [np.mean(some) for some in found.values()]
    assert result.pooled.vanilla.value == pytest.approx(np.mean(means), abs=1e-6)


def probabilities(row) -> np.ndarray:
    values = row["option_scores"] if row["option_scores"] is not None else row["option_logprobs"]
    odds = np.exp(np.array(values, dtype=float))
    return odds / odds.sum()
