"""A contract that cannot fail says nothing: each is broken on purpose, and must notice."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from crosslatent import contracts, engine
from crosslatent.contracts import CONTRACTS, Subject, guarantees
from crosslatent.contracts.subject import Broken, NotApplicable
from crosslatent.engine import EnginePath, oracle
from crosslatent.engine.prefix_attention import Scoring
from crosslatent.engine.shared import SharedRows
from crosslatent.interventions.patched import _PromptWatch
from crosslatent.model import PromptBatch, sites
from support.rows import wrapped


@pytest.fixture
def subject():
    made = Subject.of(wrapped())
    engine.best_path(made.model)  # what is broken below must not make it take another path
    return made


def failed(name, subject):
    outcome = contracts.run(name, subject)
    assert outcome.status == "failed", outcome
    return outcome.reason


@pytest.mark.parametrize("name", CONTRACTS)
def test_they_hold_where_nothing_is_broken(name, subject):
    outcome = contracts.run(name, subject)
    assert (outcome.status, outcome.reason) == ("passed", "")
    assert outcome.seconds > 0
    assert outcome.facts


@pytest.mark.parametrize("kind", ["attn", "ffn", "block"])
def test_a_self_transplant_that_changes_something(monkeypatch, subject, kind):
    right = Subject.vectors

    def wrong(self, prompt, kinds):
        vectors = right(self, prompt, kinds)
        return vectors | {kind: vectors[kind].roll(1, 0)}

    monkeypatch.setattr(Subject, "vectors", wrong)
    reason = failed("self-transplant", subject)
    assert reason.startswith(f"{kind} of block 0 into itself: its log-probabilities differ")


def test_a_double_residual_that_is_none(monkeypatch, subject):
    right = Subject.vectors

    def wrong(self, prompt, kinds):
        vectors = right(self, prompt, kinds)
        return vectors | {"attn_residual": vectors["attn"]}

    monkeypatch.setattr(Subject, "vectors", wrong)
    assert "against a forward by hand" in failed("self-transplant", subject)


def test_a_path_that_is_wrong(monkeypatch, subject):
    right = Scoring.weights
    monkeypatch.setattr(Scoring, "weights", lambda *args: right(*args) * 0.9)
    assert "shared-prefix: its log-probabilities differ" in failed("fast-equals-oracle", subject)


def test_rows_that_hang_on_rounding_are_counted_and_wrong_ones_are_not_excused(subject):
    """A block whose output jumps where a sum crosses zero, as a router of experts does."""
    _, row = subject.rows(["ffn"])[:2]
    right, wrong = (
        oracle.run_rows(subject.model, subject.main, [each], max_new_tokens=4, watch=(5, 40))[0]
        for each in (row, ())
    )

    def again(_at):
        return oracle.run_rows(subject.model, subject.main, [row], max_new_tokens=4, watch=(5, 40))[
            0
        ]

    with pytest.raises(Broken, match="some rows: its log-probabilities differ"):
        subject.check_equal([right], [wrong], "some rows", again)
    first = subject.model.blocks[1].ffn.register_forward_hook(jumps(subject))
    tied = again(0)
    assert subject.check_equal([tied, right], [wrong, right], "some rows", again) == 1
    with pytest.raises(NotApplicable, match="1 of 1 rows hang on rounding"):
        subject.check_equal([tied], [wrong], "some rows", again)
    first.remove()


def jumps(subject):
    """Adds or takes away a lot, by whether the first token's vector is as it is without noise."""
    kept = []

    def hook(_module, args, output):
        value = float(args[0][0, 0, 0])
        kept.append(value)
        return output if value == kept[0] else -output

    return hook


def test_rows_that_are_all_alike(monkeypatch, subject):
    right = Subject.rows
    monkeypatch.setattr(Subject, "rows", lambda *args: [()] * len(right(*args)))
    assert "nothing to compare" in failed("fast-equals-oracle", subject)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_that_shows(monkeypatch, subject, side):
    def columns(self):
        usual = (self.mask.cumsum(-1) - 1).clamp_min(0)
        here = bool((self.mask[:, -1] == 0).any()) == (side == "right")
        return usual + (~self.mask.bool()).sum(-1, keepdim=True) * here

    monkeypatch.setattr(PromptBatch, "positions", property(columns))
    # A constant shift of positions is nothing to rotary embeddings.
    learned = Subject.of(wrapped("gpt2"))
    assert f"{side}-padded" in failed("padding", learned)


def test_batches_that_differ(monkeypatch, subject):
    right = SharedRows.feed

    def wrong(self, tokens):
        right(self, tokens if len(tokens) < 3 else tokens.roll(1))

    monkeypatch.setattr(SharedRows, "feed", wrong)
    assert "rows in a batch of one and of many" in failed("batch-size", subject)


def test_hooks_that_stay(monkeypatch, subject):
    right = sites.after

    def wrong(hooks, module, hook):
        right(hooks, module, hook)
        module.register_forward_hook(lambda *_args: None)

    monkeypatch.setattr(sites, "after", wrong)
    assert failed("hooks-removed", subject).startswith("after a capture: hooks was 0, and is")


class Forgetful(ExitStack):
    """Closes nothing after an exception."""

    def __exit__(self, kind, *rest):
        return super().__exit__(kind, *rest) if kind is None else False


def test_hooks_that_stay_after_an_exception(monkeypatch, subject):
    monkeypatch.setattr(sites, "ExitStack", Forgetful)
    assert failed("hooks-removed", subject).startswith("after a capture that failed: hooks was 0")


def test_a_generate_that_is_not_patched(monkeypatch, subject):
    monkeypatch.setattr(_PromptWatch, "rewrite", lambda _self, _site, hidden: hidden)
    assert "generate gives" in failed("generate", subject)


def test_captures_that_remember(subject):
    calls = []

    def drift(_module, _args, output):
        calls.append(None)
        return output + 0.01 * len(calls)

    subject.model.blocks[1].ffn.register_forward_hook(drift)
    assert "captured again: the numbers differ" in failed("independent-capture", subject)


def test_a_model_that_takes_single_rows_is_skipped_with_the_reason(monkeypatch, subject):
    monkeypatch.setattr(guarantees.engine, "best_path", lambda _model: EnginePath("oracle", "so"))
    outcome = contracts.run("fast-equals-oracle", subject)
    assert (outcome.status, outcome.reason) == ("skipped", "its rows are answered one by one (so)")


def test_what_the_model_raises_is_an_outcome(subject):
    def fail(*_args):
        raise KeyError("oh")

    subject.model.hf.model.norm.register_forward_hook(fail)
    assert failed("padding", subject) == "KeyError ('oh')"


def test_of_many_blocks_some_are_edited():
    model = wrapped(num_hidden_layers=12)
    subject = Subject.of(model)
    assert len(subject.layers) == 8
    assert (subject.layers[0], subject.layers[-1]) == (0, 11)
    some = replace(subject, layers=(0, 5, 11))
    assert len(some.rows(["ffn"])) == 1 + 9
    assert contracts.run("self-transplant", some).status == "passed"
    assert torch.equal(
        some.vectors(some.aux, ["ffn"])["ffn"], subject.vectors(some.aux, ["ffn"])["ffn"]
    )
