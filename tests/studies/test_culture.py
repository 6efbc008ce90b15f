"""`culture`: conditions, their rows, what the card reads of them, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import crosslatent as xl
from crosslatent.analysis.culture.card import Matched
from crosslatent.core.errors import RunFolderError, TaskError, UsageError
from crosslatent.core.settings import complete
from crosslatent.model import load
from crosslatent.runs.reader import RunReader
from crosslatent.studies.culture_conditions import DonorVectors, forms, matched, siblings
from crosslatent.studies.culture_settings import MARKER, CultureSettings, fixed_pair, measure_names
from crosslatent.studies.culture_tasks import questions_of_card
from crosslatent.sweeps import run_sweep
from crosslatent.tasks import Item, Task, task_of
from support.models import save_tiny

COUNTRIES = (("Ethiopia", "am", "ኢትዮጵያ"), ("Nigeria", "ha", "Najeriya"), ("China", "zh", "中国"))
OPTIONS = ("(A)", "(B)", "(C)")


def opinions(questions: int = 20) -> Task:
    """Questions about three countries, with shares that differ between them."""
    chance = np.random.default_rng(3)
    items = []
    for number in range(questions):
        labels = (f"very {number}", f"somewhat {number}", f"not at all {number}")
        listed = "\n".join(f"{o} {label}" for o, label in zip(OPTIONS, labels, strict=True))
        for country, lang, own in COUNTRIES:
            shares = tuple(map(float, chance.dirichlet([1.0] * 3).round(3)))
            items.append(
                Item(
                    id=f"{number}:{lang}",
                    lang="en",
                    aux_lang=lang,
                    main=f"Country: {country}\nHow important is {number}?\n{listed}\nAnswer:",
                    aux=f"{own}: {number}?\n{listed}\n{own}:",
                    options=OPTIONS,
                    labels=labels,
                    answer=OPTIONS[int(np.argmax(shares))],
                    shares=shares,
                    cluster=f"q{number}",
                    strata={"country": country},
                )
            )
    return replace(task_of(items), name="my-opinions", type="culture")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("models") / "llama")
    return load(str(folder), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def card(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("card") / "out"
    found = xl.culture(model, [opinions()], out=out, quick=True, max_new_tokens=3)
    return found, out


def test_a_card_has_every_measure_of_opinions(card):
    found, out = card
    for name in ("stability", "similarity", "specificity"):
        one = found.result.measure(name)
        assert one is not None
        assert one.pooled.vanilla.value is not None
    assert {one.name for one in found.result.measures} == {"stability", "similarity", "specificity"}
    assert json.loads((out / MARKER).read_text(encoding="utf-8"))["sentences"] == found.sentences
    page = (out / "culture.html").read_text(encoding="utf-8")
    assert "Ethiopia" in page


def test_every_condition_has_rows_of_the_test_questions(card):
    found, out = card
    (task,) = found.result.tasks
    record = RunReader(out / "runs" / "my-opinions").manifest["status"]["culture"]
    there = {(one["name"], one["form"]): one["items"] for one in record["conditions"]}
    assert task.questions == 39
    assert set(task.countries) == {"Ethiopia", "Nigeria", "China"}
    for form in ("plain", "order:1"):
        for name in ("transplant", "same-language", "shuffled", "noise", "preset", "prompt-en"):
            assert there[name, form] == task.questions
        for lang in ("am", "ha", "zh"):
            assert there[f"donor:{lang}", form] == task.questions * 2 / 3
    assert there["vanilla", "frame:1"] == there["transplant", "persona:1"] == task.questions


def test_transplanted_rows_are_those_of_a_sweep(model, card, tmp_path):
    found, out = card
    (pair,) = found.result.tasks[0].pairs
    spec = {
        "component": (pair["component"],),
        "pairs": ((pair["source"], pair["target"]),),
        "score_options": True,
        "max_new_tokens": 3,
    }
    run_sweep(model, opinions(), spec, tmp_path / "swept")
    query = (
        "SELECT item, output_ids, prediction, correct FROM rows WHERE control = 'none' AND "
        f"component = '{pair['component']}' AND source = {pair['source']} AND target = "
        f"{pair['target']} ORDER BY item"
    )
    folders = (out / "runs" / "my-opinions", tmp_path / "swept")
    rows = [RunReader(one).connect().sql(query).fetchall() for one in folders]
    own, swept = ({repr(row) for row in some} for some in rows)
    assert len(own) >= 39
    assert own <= swept


def test_the_donor_of_another_country_is_its_counterpart(model):
    """A donor is the vector of the same question's prompt in the other language."""
    task = opinions(12)
    others = siblings(task.items)
    assert others["3:am"] == {"ha": "3:ha", "zh": "3:zh"}
    assert siblings(task.items, ["zh"])["3:zh"] == {}
    assert siblings(task.items, ["zh"])["3:am"] == {"zh": "3:zh"}
    from crosslatent.core.specs import TransplantSpec
    from crosslatent.methods.method import Bench

    bench = Bench(model=model, task=task, learn=(), new_tokens=2, items=task.items)
    vectors = DonorVectors(bench, task.items, TransplantSpec("ffn", 1, 0))
    item = next(one for one in task.items if one.id == "3:am")
    donor = next(one for one in task.items if one.id == "3:zh")
    (edit,) = vectors.from_aux(lambda one: others[one.id]["zh"])(item)
    captured = xl.capture(model, [donor.aux], ["ffn"])["ffn"][0]
    np.testing.assert_allclose(edit.vector, captured[1], atol=1e-4)
    own = {name for name in vectors.items if name.endswith(":am")}
    assert vectors.another(item, 0) in own - {"3:am"}


def test_forms_of_a_question():
    item = opinions(1).items[0]
    found = forms(item, quick=False)
    assert set(found) >= {"plain", "order:1", "frame:1", "frame:2", "frame:3", "persona:2"}
    turned = found["order:1"]
    assert turned.labels == tuple(reversed(item.labels))
    assert turned.shares == tuple(reversed(item.shares))
    assert "(A) not at all 0" in turned.main
    assert "(A) not at all 0" in turned.aux
    assert all(one.main.endswith("Answer:") for one in found.values())
    assert len(forms(item, quick=True)) == 4
    bare = replace(item, main="How important?", labels=None)
    assert "order:1" not in forms(bare, quick=True)


def test_the_matched_donor_is_the_nearest_in_accuracy():
    found = matched({"am": 0.30, "ha": 0.34, "zh": 0.8}, ["am", "zh", "sw"])
    assert found["am"] == Matched("am", 0.30, "ha", 0.34)
    assert found["am"].close
    assert found["zh"].other == "ha"
    assert not found["zh"].close
    assert found["sw"].other is None


def test_the_same_call_resumes_and_another_one_is_refused(model, card):
    found, out = card
    before = sorted(place.name for place in (out / "runs/my-opinions/rows").iterdir())
    again = xl.culture(model, [opinions()], out=out, quick=True, max_new_tokens=3)
    assert sorted(place.name for place in (out / "runs/my-opinions/rows").iterdir()) == before
    assert again.to_dict() == found.to_dict()
    with pytest.raises(RunFolderError, match="other settings"):
        xl.culture(model, [opinions()], out=out, quick=True, max_new_tokens=3, seed=4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"measures": ["similarty"]}, "Unknown culture measure 'similarty' .did you mean"),
        ({"countries": ["Etiopia"]}, "No question is about the country 'Etiopia'"),
        ({"component": "attn", "source": 1}, "has component, source but no target"),
        ({"component": "block", "source": 1, "target": 1}, "the card carries attn or ffn"),
        ({"preset": "culture", "method": "pim"}, "is given by preset and method"),
        ({"preset": "cultures"}, "Unknown preset 'cultures'"),
        ({"method": "lang-vec"}, "Unknown method 'lang-vec'"),
    ],
)
def test_bad_settings_are_refused_and_nothing_is_written(model, tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        xl.culture(model, [opinions(12)], out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_without_counterparts_or_data_the_reason_is_said(model, tmp_path):
    bare = opinions(12)
    bare = replace(bare, items=tuple(replace(item, aux="") for item in bare.items))
    with pytest.raises(TaskError, match="give a translation model"):
        xl.culture(model, [bare], out=tmp_path / "out")
    with pytest.raises(UsageError, match="--task demo-culture needs no data"):
        xl.culture(model, out=tmp_path / "out", data=tmp_path, measures=["norms"])


def test_limits_and_countries_choose_questions():
    asked = complete(CultureSettings, {"countries": ["ethiopia", "China"], "limit": 5})
    found = questions_of_card([opinions(12)], asked, None)
    assert [item.id for item in found.tasks[0].items] == [
        f"{number}:{lang}" for number in range(5) for lang in ("am", "zh")
    ]


def test_settings():
    assert measure_names(())[0] == "stability"
    assert measure_names(["bias"]) == ("bias-ambiguous", "bias-disambiguated")
    assert fixed_pair(complete(CultureSettings, {})) is None
    assert fixed_pair(complete(CultureSettings, {"preset": "culture"})).component == "ffn"
