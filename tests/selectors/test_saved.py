"""A selector that was saved and read chooses as the fitted one; what is damaged is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.selectors.base import selectors_of
from crosslatent.selectors.kinds.learned import Learned
from crosslatent.selectors.saved import SavedSelector, fitted_on, load, save
from crosslatent.selectors.signals import one_question
from support.choices import World, parts, simulate

TABLE = simulate(World({2: 0.6, 5: 0.6, 7: 0.6}, tells=4.0, clusters=30))
SAVABLE = [
    one for one in selectors_of("all") if "boosting" not in one.name and "under" not in one.name
]


def fitted(selector):
    selector = replace(selector, folds=(2, 2)) if isinstance(selector, Learned) else selector
    seen, labels = parts(TABLE, "pilot")
    return SavedSelector(selector.name, selector.about, selector.fit(seen, labels), {"run": "r"})


@pytest.mark.parametrize("selector", SAVABLE, ids=lambda one: one.name)
def test_saved_is_fitted(selector, tmp_path):
    kept = fitted(selector)
    files = save(kept, tmp_path / "new" / "s.json")
    assert all(file.is_file() for file in files)
    again = load(tmp_path / "new" / "s.json")
    seen, _ = parts(TABLE, "unseen")
    for mine, theirs in zip((kept.fitted.choose(seen),), (again.fitted.choose(seen),), strict=True):
        assert (mine.choice == theirs.choice).all()
        assert (mine.cost == theirs.cost).all()
    assert (again.name, again.about, again.fitted_on) == (kept.name, kept.about, {"run": "r"})
    assert (again.fitted.pairs, again.fitted.reads) == (kept.fitted.pairs, kept.fitted.reads)
    assert dict(again.fitted.report) == pytest.approx(dict(kept.fitted.report))


def test_boosted_trees_are_not_saved(tmp_path):
    (boosted,) = selectors_of("learned-boosting-8")
    with pytest.raises(UsageError, match="would need pickle"):
        save(fitted(boosted), tmp_path / "s.json")
    assert not list(tmp_path.iterdir())


def test_what_is_damaged_or_of_another_version_is_refused(tmp_path):
    (vote,) = selectors_of("vote-8")
    file, tensors = save(fitted(vote), tmp_path / "s.json")
    good = json.loads(file.read_text())
    for change, says in (
        ({"version": 2}, "version 2"),
        ({"format": "x"}, "has the format 'x'"),
        ({"kind": "magic"}, "no complete selector"),
        ({"fitted": {}}, "no complete selector"),
        ({"fitted_on": "x"}, "must be objects"),
        ({"fitted_on": {"model": "x"}}, "must be objects"),
        ({"fitted_on": {"model": {"n_layers": 2}}}, "the layer 2 is none of 0 to 1"),
        ({"fitted": good["fitted"] | {"pairs": good["fitted"]["pairs"][:-1]}}, "for 7 voters"),
        ({"name": 3}, "name and about must be text"),
    ):
        file.write_text(json.dumps(good | change))
        with pytest.raises(UsageError, match=says):
            load(file)
    file.write_text(json.dumps(good))
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    with pytest.raises(UsageError, match="another checksum"):
        load(file)
    tensors.unlink()
    with pytest.raises(UsageError, match="two files belong together"):
        load(file)
    for text in ("{", "[]"):
        file.write_text(text)
        with pytest.raises(UsageError):
            load(file)
    with pytest.raises(UsageError, match="Cannot read the selector"):
        load(tmp_path / "none.json")


def test_pairs_out_of_range_are_refused_even_if_the_model_is_not_known(tmp_path):
    (pilot,) = selectors_of("pilot")[:1]
    (file,) = save(fitted(pilot), tmp_path / "s.json")
    content = json.loads(file.read_text())
    content["fitted"]["pooled"]["source"] = -1
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="the layer -1 is none of"):
        load(file)


def test_a_folder_is_refused_and_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    (vote,) = selectors_of("vote-8")
    kept = fitted(vote)
    (tmp_path / "folder").mkdir()
    (tmp_path / "s.safetensors").mkdir()
    for name in ("folder", "s.json"):
        with pytest.raises(RunFolderError, match="which is a folder"):
            save(kept, tmp_path / name)
    assert not (tmp_path / "s.json").exists()
    files = save(kept, tmp_path / "t.json")
    before = [file.read_bytes() for file in files]
    replace_file = Path.replace
    broken = []

    def full(path, target):
        if target.name in broken:
            raise OSError(28, "No space left on device")
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", full)
    other = replace(kept, name="another", fitted=replace(kept.fitted, weights=np.ones(8)))
    for name in ("json", "safetensors"):
        broken[:] = [f"t.{name}", f"u.{name}"]
        with pytest.raises(RunFolderError, match="No space left"):
            save(other, tmp_path / "t.json")
        assert [file.read_bytes() for file in files] == before
        with pytest.raises(RunFolderError):
            save(other, tmp_path / "u.json")
        assert not list(tmp_path.glob("*u.*"))


def test_weights_of_other_features_are_refused(tmp_path):
    (learned,) = selectors_of("learned-logistic-8")
    file, _ = save(fitted(learned), tmp_path / "s.json")
    content = json.loads(file.read_text())
    names = content["fitted"]["features"]
    content["fitted"]["features"] = names[:-1]
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="weights for"):
        load(file)
    content["fitted"]["features"] = [*names[:-1], "another"]
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="fitted on other features"):
        load(file).fitted.choose(parts(TABLE, "unseen")[0])


def test_what_it_was_fitted_on_names_no_folder():
    manifest = {"model": {"name": "/home/me/models/tiny", "n_layers": 3}, "task": {"name": "t"}}
    found = fitted_on(manifest, "run", "pilot", 9)
    assert found["model"] == {"name": "tiny", "n_layers": 3}
    assert (found["task"]["name"], found["items"]) == ("t", 9)


def test_one_question_from_records_is_the_question_of_the_table():
    seen, _ = parts(TABLE, "unseen")
    one = seen.take(np.arange(len(seen)) == 5)
    options = ["a", "b", "c", "d"]

    def record(steps, *at):
        return {
            "prediction": options[steps.answer[at]],
            "output": "?",
            "option_logprobs": np.log(steps.options[at]).tolist(),
            "first_logprob": float(steps.logprob[at]),
            "first_entropy": float(steps.entropy[at]),
            "first_margin": float(steps.margin[at]),
        }

    built = one_question(
        record(one.vanilla, 0),
        {pair: record(one.steps, 0, k) for k, pair in enumerate(one.pairs)},
        record(one.aux, 0),
        lang=str(one.lang[0]),
        n_layers=one.n_layers,
        options=options,
        attribution=dict(zip(one.pairs, one.attribution[0], strict=True)),
    )
    for name in ("options", "logprob", "entropy", "margin", "answer"):
        for part in ("vanilla", "steps", "aux"):
            mine, theirs = (getattr(getattr(c, part), name) for c in (built, one))
            assert np.allclose(mine, theirs)
    for selector in SAVABLE:
        kept = fitted(selector)
        assert kept.fitted.choose(built).choice.tolist() == kept.fitted.choose(one).choice.tolist()


def test_open_answers_are_the_same_if_their_texts_are():
    def record(output):
        return {"output": output, "first_logprob": -0.5, "first_margin": None}

    texts = {"vanilla": "Roma", "aux": "Paris"}
    rows = dict(zip(TABLE.seen.pairs, [" roma\r\n\t", "PARIS", "\t"], strict=False))
    seen = one_question(
        record(texts["vanilla"]),
        {pair: record(text) for pair, text in rows.items()},
        record(texts["aux"]),
        lang="sw",
        n_layers=3,
    )
    assert seen.steps.answer.tolist() == [[seen.vanilla.answer[0], seen.aux.answer[0], -1]]
    assert seen.steps.options.shape == (1, 3, 0)
    assert np.isnan(seen.steps.margin).all()
