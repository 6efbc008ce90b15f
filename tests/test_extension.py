"""What others add from outside: an intervention and a control, from the sweep to the report.

Each is one class in this file and nothing in src knows of it. A plug-in of another package comes
through entry points: a package is made for the test, whose modules are here as text.
"""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import dataclass

import duckdb
import pandas as pd
import pytest
import torch

import crosslatent as xl
from crosslatent.cli.app import main
from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import CONTROL_KINDS
from crosslatent.core.specs import Site
from crosslatent.engine import oracle
from crosslatent.interventions.registry import KINDS
from crosslatent.report.build import build_report
from support.rows import ids_of, wrapped

NEW_TOKENS = 3


@xl.register_intervention("zero-neurons")
@dataclass(frozen=True, eq=False)
class ZeroNeurons(xl.Intervention):
    """Neurons of one block set to zero; in words ``zero-neurons:LAYER:NUMBER,NUMBER``."""

    site: Site
    numbers: tuple[int, ...]
    tokens: xl.Tokens = xl.ALL

    @classmethod
    def of_text(cls, model, settings):
        layer, _, numbers = settings.partition(":")
        del model
        yield settings, (cls(Site("neurons", int(layer)), tuple(map(int, numbers.split(",")))),)

    def change(self, own, _back=None, /):
        changed = own.clone()
        changed[..., list(self.numbers)] = 0
        return changed


@xl.register_control("rolled")
class Rolled(xl.Control):
    """The true vector with its dimensions moved on by one: as long, and without its meaning."""

    def layers(self, item, variant, component, vectors):
        true = vectors.of(self.reads(item, variant))[component]
        return true.roll(1, -1)


def make_items():
    return [
        {
            "id": f"{lang}{n}",
            "lang": lang,
            "aux_lang": "en",
            "main": f"Swali la {n} ni lipi? {lang} Jibu:",
            "aux": f"What is question {n}? Answer:",
            "answer": f"({n % 2 + 1})",
            "options": ["(1)", "(2)"],
            "cluster": f"fact-{n}",
            "split": "pilot" if n % 2 else "final",
        }
        for n in range(8)
        for lang in ("sw", "es")
    ]


CONDITIONS = {
    "none of 40": ZeroNeurons(Site("neurons", 1), tuple(range(40))),
    "the last token": ZeroNeurons(Site("neurons", 2), (0, 1, 2), xl.LAST),
}
ASKED = {
    "component": "ffn",
    "pairs": "target-first",
    "controls": ["rolled", "noise"],
    "conditions": CONDITIONS,
    "max_new_tokens": NEW_TOKENS,
}


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("extension") / "run"
    return xl.sweep(model, make_items(), out=out, **ASKED)


def conditions_of(run):
    return json.loads((run.path / "run.json").read_text())["spec"]["conditions"]


def rows_of(run):
    return duckdb.sql(f"SELECT * FROM read_parquet('{run.path}/rows/*.parquet')").df()


def test_the_rows_are_those_of_the_oracle_under_the_same_interventions(model, run):
    items = {item["id"]: item for item in make_items()}
    named = {one["id"]: one["name"] for one in conditions_of(run)}
    found = rows_of(run)
    under = found[found.condition.notna()]
    assert set(under.control) == {"condition"}
    assert under[["component", "source", "target", "donor", "stratum"]].isna().all(axis=None)
    assert len(under) == 2 * len(items)
    changed = 0
    for row in under.itertuples():
        ids = ids_of(model, items[row.item]["main"])
        edits = [(), (CONDITIONS[named[row.condition]],)]
        plain, right = oracle.run_rows(model, ids, edits, max_new_tokens=NEW_TOKENS)
        assert list(row.output_ids) == list(right.ids)
        changed += plain.ids != right.ids
    assert changed > 3


def test_the_control_carries_what_it_says(model, run):
    found = rows_of(run)
    own = found[found.control == "rolled"]
    assert len(own) == 16 * model.n_layers
    items = {item["id"]: item for item in make_items()}
    for row in own.iloc[::7].itertuples():
        true = xl.capture(model, items[row.item]["aux"], "ffn")["ffn"][row.source].roll(1, -1)
        (right,) = oracle.run_rows(
            model,
            ids_of(model, items[row.item]["main"]),
            [(xl.Transplant(Site("ffn", row.target), true),)],
            max_new_tokens=NEW_TOKENS,
        )
        assert list(row.output_ids) == list(right.ids)


def test_a_second_call_does_nothing_and_a_lost_part_is_made_again(model, run, tmp_path):
    first = rows_of(run)
    again = ASKED | {"controls": ["noise", "rolled"]}
    whole = xl.sweep(model, make_items(), out=tmp_path / "run", **again)
    for part in sorted((whole.path / "rows").glob("*.parquet"))[:1]:
        part.unlink()
    xl.sweep(model, make_items(), out=tmp_path / "run", **again)
    key = ["item", "control", "component", "source", "target", "condition"]
    columns = [*key, "output", "prediction", "correct"]
    one, two = (
        frame[columns].sort_values(key).reset_index(drop=True) for frame in (first, rows_of(whole))
    )
    pd.testing.assert_frame_equal(one, two)
    other = again | {"conditions": {"none of 40": ZeroNeurons(Site("neurons", 1), (1, 2))}}
    with pytest.raises(xl.CrosslatentError, match="conditions"):
        xl.sweep(model, make_items(), out=tmp_path / "run", **other)


def test_the_report_shows_both(run, tmp_path):
    files = build_report([run.path], tmp_path / "report")
    summary = json.loads(files.summary.read_text())["runs"][0]
    items = pd.read_parquet(run.path / "items.parquet").set_index("item")
    rows = rows_of(run)
    final = rows[rows.item.map(items.split) == "final"]
    vanilla = final[final.control == "vanilla"].set_index("item").correct.astype(float)
    named = {one["id"]: one["name"] for one in conditions_of(run)}
    figures = {(one["name"], one["split"], one["lang"]): one for one in summary["conditions"]}
    for identity, name in named.items():
        mine = final[final.condition == identity].set_index("item").correct.astype(float)
        told = figures[name, "final", "all"]
        assert told["accuracy"]["value"] == pytest.approx(mine.mean())
        assert told["gain"]["value"] == pytest.approx((mine - vanilla).mean())
        assert (told["gain"]["n"], told["gain"]["clusters"]) == (8, 4)
        assert told["repaired"] == int((mine > vanilla).sum())
        assert told["broken"] == int((mine < vanilla).sum())
    assert {lang for _, _, lang in figures} == {"all", "sw", "es"}
    page = files.page.read_text()
    assert "Under conditions" in page
    assert "none of 40" in page
    assert "Rolled" in page
    assert list((tmp_path / "report" / "figures").glob("*-conditions.svg"))
    table = pd.read_csv(tmp_path / "report" / "tables" / "conditions.csv")
    assert set(table.condition) == set(named.values())
    bounds = pd.read_csv(tmp_path / "report" / "tables" / "bounds.csv")
    assert "rolled" in set(bounds.control)
    rivals = {one["control"] for one in summary["over_controls"][0]["rivals"]}
    assert rivals == {"rolled", "noise"}


def test_the_command_line_takes_the_kind_in_words(model, tmp_path):
    words = ["zero-neurons:1:0,1"]
    run = xl.sweep(model, make_items()[:2], conditions=words, out=tmp_path, max_new_tokens=1)
    (one,) = conditions_of(run)
    assert one["name"] == "zero-neurons:1:0,1"
    assert one["interventions"][0]["numbers"] == [0, 1]


PACKAGE = {
    "plug/__init__.py": "",
    "plug/kinds.py": """
        from dataclasses import dataclass

        import crosslatent as xl
        from crosslatent.core.specs import Site

        @dataclass(frozen=True, eq=False)
        class Double(xl.Intervention):
            site: Site
            tokens: xl.Tokens = xl.ALL

            @classmethod
            def of_text(cls, model, settings):
                yield settings, (cls(Site("ffn", int(settings))),)

            def change(self, own, back=None, /):
                return 2 * own

        class Negative(xl.Control):
            def layers(self, item, variant, component, vectors):
                return -vectors.of(self.reads(item, variant))[component]
        """,
    "plug/broken.py": "import there_is_no_such_module",
}


@pytest.fixture
def crosslatent(tmp_path, monkeypatch, capsys):
    """The command line, where a package with some entry points is installed as pip leaves it."""
    for registry in (KINDS, CONTROL_KINDS):
        monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))

    def call(entries, *arguments):
        folder = tmp_path / "site"
        for name, text in PACKAGE.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(text))
        info = folder / "plug-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entries))
        with monkeypatch.context() as installed:
            installed.syspath_prepend(folder)
            capsys.readouterr()
            code = main([str(argument) for argument in arguments])
            return code, *capsys.readouterr()

    yield call
    for name in [name for name in sys.modules if name.partition(".")[0] == "plug"]:
        del sys.modules[name]


WORKING = """
    [crosslatent.interventions]
    double = plug.kinds:Double
    [crosslatent.controls]
    negative = plug.kinds:Negative
    """


def test_a_package_brings_kinds_by_entry_points(crosslatent, tmp_path, tiny_folder):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps(item) for item in make_items()))
    code, _, told = crosslatent(
        WORKING, "sweep", "--model", tiny_folder, "--prompts", prompts, "--pairs", "0:0,1:1",
        "--controls", "negative", "--condition", "twice=double:1", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, told
    rows = duckdb.sql(f"SELECT control, count(*) FROM '{tmp_path}/run/rows/*.parquet' GROUP BY 1")
    counts = dict(rows.fetchall())
    assert counts["negative"] == counts["none"] == 32
    assert counts["condition"] == 16
    # Whoever has not got the package can still read the run.
    build_report([tmp_path / "run"], tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Negative" in page
    assert "twice" in page


@pytest.mark.parametrize(
    ("entries", "arguments", "sentence"),
    [
        (
            "[crosslatent.controls]\nbad = plug.broken:Bad\n",
            ["--controls", "bad"],
            (
                "The control 'bad' of plug cannot be loaded (ModuleNotFoundError: No module named "
                "'there_is_no_such_module'): mend that package, or uninstall it."
            ),
        ),
        (
            "[crosslatent.interventions]\nbad = plug.kinds:Missing\n",
            ["--condition", "bad:1"],
            (
                "The intervention 'bad' of plug cannot be loaded (AttributeError: module "
                "'plug.kinds' has no attribute 'Missing'): mend that package, or uninstall it."
            ),
        ),
        (
            "[crosslatent.controls]\nnoise = plug.kinds:Negative\n",
            ["--controls", "noise"],
            (
                "The control 'noise' of plug has a name that is taken (by crosslatent): give it "
                "another one."
            ),
        ),
        (
            "[crosslatent.interventions]\nablate = plug.kinds:Double\n",
            ["--condition", "ablate:heads:0:0"],
            (
                "The intervention 'ablate' of plug has a name that is taken (by crosslatent): give "
                "it another one."
            ),
        ),
        (
            "[crosslatent.controls]\nwrong = plug.kinds:Double\n",
            ["--controls", "wrong"],
            (
                "The control 'wrong' is <class 'plug.kinds.Double'>, but a class below Control "
                "belongs there."
            ),
        ),
    ],
)
def test_a_plug_in_that_does_not_work_is_one_sentence(
    crosslatent, tmp_path, tiny_folder, entries, arguments, sentence
):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps(item) for item in make_items()))
    found = crosslatent(
        entries, "sweep", "--model", tiny_folder, "--prompts", prompts, *arguments,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert found == (2, "", f"Error: {sentence}\n")
    assert not (tmp_path / "run").exists()


def test_a_name_is_given_once():
    class Other(Rolled):
        pass

    with pytest.raises(UsageError, match="'rolled' of .* has a name that is taken"):
        xl.register_control("rolled")(Other)
    with pytest.raises(UsageError, match="'self' of .* has a name that is taken .by crosslatent"):
        xl.register_control("self")(Other)
    assert xl.register_control("rolled")(Rolled) is Rolled


def test_a_control_that_fails_is_the_failure_of_its_items(model, tmp_path):
    @xl.register_control("failing-for-two")
    class Failing(xl.Control):
        def layers(self, item, variant, component, vectors):
            if item.id.startswith("es"):
                raise ValueError("no vector in Spanish")
            return torch.zeros_like(vectors.of(self.reads(item, variant))[component])

    run = xl.sweep(
        model, make_items(), pairs="0:0", controls=["failing-for-two"], out=tmp_path / "run",
        max_new_tokens=1,
    )  # fmt: skip
    failed = pd.read_parquet(run.path / "failures.parquet")
    assert set(failed.item) == {item["id"] for item in make_items() if item["lang"] == "es"}
    assert set(failed.reason) == {"ValueError: no vector in Spanish"}
