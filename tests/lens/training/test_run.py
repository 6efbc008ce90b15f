"""`train` as a whole: against a plain loop with two models, exactness, resuming, failures."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import crosslatent
from crosslatent.core.errors import (
    ModelError,
    RunFolderError,
    SpaceError,
    TrainingError,
    UsageError,
)
from crosslatent.lens.training import checkpoints, lens_objective
from crosslatent.lens.training.fork import fork, parameters_of
from crosslatent.lens.training.lens_objective import train
from crosslatent.lens.training.parallel_rows import encode_rows, order_of, parts_of, split_rows
from crosslatent.lens.training.record import read_record
from crosslatent.lens.training.train_spec import LoraSpec, TrainSpec
from support.models import save_tiny
from support.training import made_up_space, parallel, plain_terms, tiny

SPEC = TrainSpec(lr=1e-3, batch_size=3, held_out=0.2, seed=5)


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def space(model):
    return made_up_space(model)


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.hf.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def changed(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


def outside(model):
    """What else a model has that training could leave traces in."""
    modules = list(model.hf.modules())
    return (
        [weight.requires_grad for weight in model.hf.parameters()],
        [weight.grad is None for weight in model.hf.parameters()],
        [module.training for module in modules],
        [sorted(vars(module)) for module in modules],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
        [id(weight) for weight in model.hf.parameters()],
    )


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "falcon", "gpt_neox"])
@pytest.mark.parametrize("blocks", [2, (1, 3)])
def test_exactly_the_chosen_blocks_are_trained(family, blocks):
    model = tiny(family)
    before, traces = weights(model), outside(model)
    done = train(model, made_up_space(model), parallel(8), spec=replace(SPEC, blocks=blocks))
    assert same(weights(model), before)
    assert outside(model) == traces
    chosen = set(parameters_of(model, done.record.blocks))
    assert done.record.blocks == ([2, 3] if blocks == 2 else [1, 3])
    assert changed(before, weights(done.model)) == chosen
    numbers = sum(before[name].numel() for name in chosen)
    assert done.record.parameters == numbers
    traces_of_new = outside(done.model)
    assert traces_of_new[0] == traces[0]
    assert traces_of_new[2:5] == traces[2:5]


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_alone_when_training_fails(model, space, monkeypatch, mode):
    model.hf.train(mode)
    before, traces = weights(model), outside(model)
    monkeypatch.setattr(lens_objective, "retain", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(model, space, parallel(8), spec=SPEC)
    assert same(weights(model), before)
    assert outside(model) == traces
    model.hf.train(False)


def test_the_trained_model_is_like_any_other(model, space):
    done = train(model, space, parallel(8), spec=SPEC)
    one = crosslatent.transplant(
        done.model, main="moja", aux="one", component="ffn", source=0, target=0
    )
    assert one.output_ids
    assert done.model.n_layers == 4


def plain_training(model, space, spec):
    """The released scheme: two models, whole forwards, AdamW."""
    tuned = fork(model, spec.trained_blocks(model.n_layers))
    named = parameters_of(tuned, spec.trained_blocks(model.n_layers))
    rows = encode_rows(
        model, parallel(11), central="en", languages=("sw", "hi"), chat=False, max_tokens=64
    ).rows
    split = split_rows(range(11), spec.held_out, spec.seed)
    strength = {lang: spec.strength_of(lang) for lang in ("sw", "hi")}
    groups = [
        {"params": [w for w in named.values() if w.dim() > 1], "weight_decay": spec.weight_decay},
        {"params": [w for w in named.values() if w.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=spec.lr)
    size = spec.batch_size * spec.accumulate
    steps = -(-len(split.train) // size) * spec.epochs
    warm = int(np.ceil(spec.warmup * steps))
    step, losses = 0, []
    for epoch in range(spec.epochs):
        for part in parts_of(order_of(split.train, epoch, spec.seed), size):
            texts = [{"en": rows[row].central, **rows[row].targets} for row in part]
            terms = plain_terms(tuned, model, space, texts, ("final",), strength)
            loss = (
                spec.align * terms["align"]
                + spec.separate * terms["separate"]
                + spec.retain * terms["retain"]
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(named.values()), spec.clip)
            done = (step - warm) / max(1, steps - warm)
            share = step / warm if step < warm else 0.5 * (1 + np.cos(np.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = spec.lr * share
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            step += 1
    return tuned, losses


def test_equals_a_plain_loop_with_two_models():
    model = tiny("gpt_neox")
    model.hf.double()
    space = made_up_space(model)
    spec = replace(
        SPEC, epochs=2, align=0.5, separate=1.5, retain=2.0, strength={"sw": 2.0}, warmup=0.3
    )
    expected, losses = plain_training(model, space, spec)
    done = train(model, space, parallel(11), spec=spec)
    found = [point.loss for point in done.record.points("train")]
    assert len(found) == 6  # 9 rows by 3, twice
    assert found == pytest.approx(losses, rel=1e-8)
    plain = expected.hf.state_dict()
    for name, weight in done.model.hf.state_dict().items():
        torch.testing.assert_close(weight, plain[name], rtol=1e-6, atol=1e-8)


def test_accumulated_batches_are_one_large_batch(model, space):
    rows = parallel(10)
    del rows[0]["sw"], rows[3]["hi"], rows[4]["hi"]
    runs = [
        train(model, space, rows, spec=replace(SPEC, batch_size=size, accumulate=many))
        for size, many in ((6, 1), (2, 3))
    ]
    curves = [[point.loss for point in run.record.points("train")] for run in runs]
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    for name, weight in weights(runs[0].model).items():
        torch.testing.assert_close(weight, weights(runs[1].model)[name], rtol=1e-4, atol=2e-5)


def test_gradient_checkpointing_changes_nothing(model, space):
    plain, saving = (
        train(model, space, parallel(8), spec=replace(SPEC, gradient_checkpointing=flag))
        for flag in (False, True)
    )
    assert same(weights(plain.model), weights(saving.model))


def half_model(tmp_path):
    """As it is loaded, so that what is no weight is as exact as it will be in the saved model."""
    save_tiny(tmp_path / "half")
    return crosslatent.load(tmp_path / "half", dtype="bfloat16")


def test_what_was_trained_in_float32_is_what_the_folder_holds(tmp_path):
    model = half_model(tmp_path)
    traces, before = outside(model), weights(model)
    spec = replace(SPEC, lr=1e-5)
    done = train(model, made_up_space(model), parallel(8), spec=spec, out=tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config.get("dtype", config.get("torch_dtype")) == "float32"
    loaded = crosslatent.load(tmp_path / "out")
    assert {weight.dtype for weight in loaded.hf.parameters()} == {torch.float32}
    assert same(weights(loaded), weights(done.model))
    named = parameters_of(loaded, (2, 3))
    changes = [
        (weight.detach() - before[name].float()).abs().max() for name, weight in named.items()
    ]
    assert min(map(float, changes)) > 0  # smaller than bfloat16 has room for
    assert max(map(float, changes)) < 1e-4
    others = {name for name in before if name not in named}
    assert all(torch.equal(weights(loaded)[name], before[name].float()) for name in others)
    assert same(weights(model), before)
    assert outside(model) == traces
    record = read_record(tmp_path / "out")
    last = record.points("held_out")[-1]
    assert record.saved == {
        "dtype": "float32", "loss": last.loss, "terms": last.terms, "lost": 0.0
    }  # fmt: skip
    again = train(model, made_up_space(model), parallel(8), spec=spec, out=tmp_path / "out")
    assert again.resumed_at is None
    assert same(weights(again.model), weights(done.model))
    with pytest.raises(RunFolderError, match="saved in float32, not bfloat16"):
        train(
            model,
            made_up_space(model),
            parallel(8),
            spec=replace(spec, save_dtype="model"),
            out=tmp_path / "out",
        )


def test_what_rounding_loses_is_measured(tmp_path):
    model = half_model(tmp_path)
    space, rows = made_up_space(model), parallel(8)
    spec = replace(SPEC, lr=1e-3, epochs=2, save_dtype="model")
    done = train(model, space, rows, spec=spec, out=tmp_path / "out")
    exact = train(model, space, rows, spec=replace(spec, save_dtype="auto"))
    loaded = crosslatent.load(tmp_path / "out", dtype="bfloat16")
    assert same(weights(loaded), weights(done.model))
    before, after = weights(model), weights(exact.model)
    errors, changes = [], []
    for name in parameters_of(model, (2, 3)):
        errors.append((weights(loaded)[name].float() - after[name]).flatten())
        changes.append((after[name] - before[name].float()).flatten())
    lost = float(torch.cat(errors).norm() / torch.cat(changes).norm())
    assert lost > 0.1
    assert done.record.saved["dtype"] == "bfloat16"
    assert done.record.saved["lost"] == pytest.approx(lost, rel=1e-3)
    # Products round their weights in any case; norms do not.
    assert done.record.saved["loss"] != done.record.points("held_out")[-1].loss
    assert done.record.saved["loss"] == pytest.approx(done.record.curve[-1].loss, rel=0.05)


def test_bfloat16_model_has_float32_masters(monkeypatch):
    model = tiny()
    model.hf.to(torch.bfloat16)
    before, kinds = weights(model), set()
    whole = lens_objective.last_token
    monkeypatch.setattr(
        lens_objective,
        "last_token",
        lambda s, n: kinds.add((s.dtype, s.requires_grad)) or whole(s, n),
    )
    # Steps far below the precision of bfloat16, which only float32 weights can add up.
    spec = replace(SPEC, lr=3e-4, epochs=10, schedule="constant", warmup=0.0, weight_decay=0.0)
    spec = replace(spec, save_dtype="model")
    done = train(model, made_up_space(model), parallel(8), spec=spec)
    assert {dtype for dtype, _ in kinds} <= {torch.bfloat16, torch.float32}
    assert {w.dtype for w in done.model.hf.parameters()} == {torch.bfloat16}
    assert changed(before, weights(done.model)) <= set(parameters_of(model, (2, 3)))
    first, *_, last = done.record.points("held_out")
    assert last.loss < first.loss
    assert same(weights(model), before)


def test_bfloat16_precision_of_a_float32_model_is_close_to_float32(model, space):
    exact, rough = (
        train(model, space, parallel(8), spec=replace(SPEC, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    assert {w.dtype for w in rough.model.hf.parameters()} == {torch.float32}
    one, other = (run.record.points("train")[0].loss for run in (exact, rough))
    assert one != other
    assert one == pytest.approx(other, rel=0.05)
    assert rough.record.points("held_out")[0].terms["retain"] < 1e-6


def test_the_losses_fall_and_the_held_out_ones_are_of_held_out_rows(model, space):
    done = train(model, space, parallel(12), spec=replace(SPEC, epochs=8, lr=3e-3))
    held_out = done.record.points("held_out")
    assert [point.step for point in held_out] == [4 * epoch for epoch in range(9)]
    assert held_out[-1].loss < 0.9 * held_out[0].loss
    assert held_out[0].terms["retain"] < 1e-10 < held_out[-1].terms["retain"]
    assert done.record.rows == {"train": 10, "held_out": 2, "left_out": 0}
    assert done.record.best_step == min(held_out, key=lambda point: point.loss).step


def test_patience_stops_and_takes_the_best_weights(model, space, tmp_path):
    spec = replace(SPEC, epochs=30, lr=0.02, patience=2, schedule="constant", warmup=0.0)
    done = train(model, space, parallel(12), spec=spec, out=tmp_path / "out")
    record = done.record
    assert record.stopped == "early"
    assert 0 < record.best_step == record.steps - 8 < 112
    assert record.best_step == min(record.points("held_out"), key=lambda point: point.loss).step
    # Training for so many epochs and no more, at the same constant rate, ends there.
    short = replace(spec, patience=None, epochs=record.best_step // 4)
    best = train(model, space, parallel(12), spec=short).model
    assert same(weights(done.model), weights(best))
    again = train(model, space, parallel(12), spec=spec, out=tmp_path / "out")
    assert again.resumed_at is None
    assert same(weights(again.model), weights(best))


def interrupt_at(step):
    def progress(state):
        if state.stage == "train" and state.done == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("lora", [None, LoraSpec(rank=2, dropout=0.3)])
def test_resumed_training_gives_the_same_weights_bit_for_bit(model, space, tmp_path, step, lora):
    spec = replace(SPEC, epochs=2, evaluate_every=2, lora=lora)
    plain = train(model, space, parallel(12), spec=spec)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train(model, space, parallel(12), spec=spec, out=out, progress=interrupt_at(step))
    assert read_record(out).stopped == "interrupted"
    done = train(model, space, parallel(12), spec=spec, out=out)
    assert done.resumed_at == step
    assert same(weights(done.model), weights(plain.model))
    losses = [[(p.step, p.split, p.loss) for p in run.record.curve] for run in (plain, done)]
    assert losses[0] == losses[1]
    assert read_record(out).stopped == "finished"


class Killed(BaseException):
    """As if the process were gone: nothing gets to react."""


def kill_at(step):
    def progress(state):
        if state.stage == "train" and state.done == step:
            raise Killed

    return progress


@pytest.mark.parametrize(("every", "step", "kept"), [(2, 3, 2), (1, 3, 2), (None, 3, 0)])
def test_a_killed_run_goes_on_from_between_evaluations(model, space, tmp_path, every, step, kept):
    spec = replace(SPEC, lora=LoraSpec(rank=2, dropout=0.3), batch_size=2)
    plain = train(model, space, parallel(12), spec=spec)
    assert plain.record.steps == 5
    assert [point.step for point in plain.record.points("held_out")] == [0, 5]
    spec = replace(spec, checkpoint_every=every)
    with pytest.raises(Killed):
        train(model, space, parallel(12), spec=spec, out=tmp_path, progress=kill_at(step))
    done = train(model, space, parallel(12), spec=replace(spec, checkpoint_every=7), out=tmp_path)
    assert done.resumed_at == kept
    assert same(weights(done.model), weights(plain.model))
    assert [p.loss for p in done.record.curve] == [p.loss for p in plain.record.curve]


def test_checkpoints_come_by_the_clock_and_cost_little(model, space, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", float("inf"))
    with pytest.raises(Killed):
        train(model, space, parallel(12), spec=SPEC, out=tmp_path, progress=kill_at(3))
    assert train(model, space, parallel(12), spec=SPEC, out=tmp_path).resumed_at == 2
    monkeypatch.undo()
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    kept = checkpoints.Pace()
    kept.note(5, took=10.0)
    for later, due in ((59.0, False), (199.0, False), (201.0, True)):
        now[0] = 100.0 + later
        assert kept.is_due(6, TrainSpec()) == due


def test_a_number_of_steps_goes_before_passes(model, space):
    spec = replace(SPEC, schedule="linear", warmup=0.0)
    for steps in (3, 10):
        record = train(model, space, parallel(12), spec=replace(spec, max_steps=steps)).record
        points = record.points("train")
        assert (record.steps, len(points)) == (steps, steps)
        assert points[-1].lr == pytest.approx(spec.lr / steps)  # the schedule ends there
        assert record.points("held_out")[-1].step == steps
        assert points[-1].epoch == steps / 4


def test_rows_of_a_group_are_held_out_together(model, space, tmp_path):
    rows = parallel(12)
    rows[4] = {"en": "alone"}
    groups = [row // 3 for row in range(12)]
    done = train(model, space, rows, groups=groups, spec=replace(SPEC, held_out=0.1), out=tmp_path)
    assert done.record.rows["held_out"] in (2, 3)
    alone = train(model, space, rows, spec=replace(SPEC, held_out=0.1))
    assert alone.record.rows["held_out"] == 1
    with pytest.raises(RunFolderError, match="data: "):
        train(model, space, rows, spec=replace(SPEC, held_out=0.1), out=tmp_path)
    with pytest.raises(UsageError, match="12 rows, but 4 groups"):
        train(model, space, rows, groups=groups[:4], spec=SPEC)


def test_a_finished_folder_keeps_no_second_copy_of_the_weights(model, space, tmp_path):
    for lora in (None, LoraSpec(rank=2)):
        out = tmp_path / str(lora)
        spec = replace(SPEC, lora=lora)
        done = train(model, space, parallel(8), spec=spec, out=out)
        assert [path.name for path in (out / "training" / "checkpoint").iterdir()] == ["state.json"]
        again = train(model, space, parallel(8), spec=spec, out=out)
        assert again.resumed_at is None
        assert same(weights(again.model), weights(done.model))
        assert again.model.identity == done.model.identity
        for file in out.glob("*model.safetensors"):
            file.unlink()
        with pytest.raises(RunFolderError, match="the model there cannot be read .*--new"):
            train(model, space, parallel(8), spec=spec, out=out)


def test_an_interrupt_in_the_middle_of_a_step_keeps_the_last_evaluation(
    model, space, tmp_path, monkeypatch
):
    spec = replace(SPEC, epochs=2, evaluate_every=2)
    plain = train(model, space, parallel(12), spec=spec)
    whole, calls = torch.optim.AdamW.step, []

    def step(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)
            raise KeyboardInterrupt
        return whole(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(KeyboardInterrupt):
        train(model, space, parallel(12), spec=spec, out=tmp_path)
    monkeypatch.undo()
    done = train(model, space, parallel(12), spec=spec, out=tmp_path)
    assert done.resumed_at == 2
    assert same(weights(done.model), weights(plain.model))


def test_a_finished_folder_is_taken_as_it_is_and_another_run_refused(model, space, tmp_path):
    spec = replace(SPEC, epochs=1)
    done = train(model, space, parallel(8), spec=spec, out=tmp_path)
    again = train(model, space, parallel(8), spec=spec, out=tmp_path)
    assert again.resumed_at is None
    assert same(weights(again.model), weights(done.model))
    for arguments, word in (
        ((model, space, parallel(8), replace(spec, lr=2e-3)), "spec.lr: 0.001 there, 0.002 now"),
        ((model, space, parallel(9), spec), "data: "),
        ((model, made_up_space(model, rank=1), parallel(8), spec), "data: "),
    ):
        *given, other = arguments
        with pytest.raises(RunFolderError, match=word):
            train(*given, spec=other, out=tmp_path)
    other = train(model, space, parallel(8), spec=replace(spec, lr=2e-3), out=tmp_path, new=True)
    assert other.resumed_at == 0
    assert not same(weights(other.model), weights(done.model))


def test_the_folder_is_an_ordinary_model(model, space, tmp_path):
    done = train(model, space, parallel(8), spec=SPEC, out=tmp_path / "out")
    loaded = crosslatent.load(tmp_path / "out")
    assert same(weights(loaded), weights(done.model))
    assert loaded.identity["weights_hash"] == done.model.identity["weights_hash"]
    assert loaded.tokenizer("maji")["input_ids"] == model.tokenizer("maji")["input_ids"]
    assert (tmp_path / "out" / "README.md").is_file()
    assert not (tmp_path / "out" / "training" / "trunk").exists()
    record = read_record(tmp_path / "out")
    assert record == done.record
    assert record.base["identity"] == model.identity


def test_a_folder_of_something_else_is_refused(model, space, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for new in (False, True):
        with pytest.raises(RunFolderError, match="holds something else"):
            train(model, space, parallel(8), spec=SPEC, out=tmp_path, new=new)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_adapters_leave_every_weight_as_it_was(model, space, tmp_path):
    spec = replace(SPEC, lora=LoraSpec(rank=2), epochs=2)
    before, traces = weights(model), outside(model)
    done = train(model, space, parallel(8), spec=spec, out=tmp_path / "out")
    assert outside(model) == traces
    after = weights(done.model)
    stripped = {name.replace(".base_layer", ""): weight for name, weight in after.items()}
    assert all(torch.equal(stripped[name], weight) for name, weight in before.items())
    added = {name for name in after if "lora_" in name}
    assert all(".layers.2." in name or ".layers.3." in name for name in added)
    assert done.record.parameters == sum(after[name].numel() for name in added)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    first, *_, last = done.record.points("held_out")
    assert last.loss < first.loss


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
    model, space, tmp_path, monkeypatch, what
):
    spec = replace(SPEC, epochs=3, evaluate_every=2)
    whole, calls = lens_objective.retain, []

    def retain(states, reference):
        calls.append(1)
        value = whole(states, reference)
        if not states.requires_grad or len(calls) < 9:
            return value
        if what == "loss":
            return value * float("inf")
        return value + (0 * states).abs().sqrt().sum()  # adds 0, and NaN to the gradient

    monkeypatch.setattr(lens_objective, "retain", retain)
    with pytest.raises(TrainingError) as caught:
        train(model, space, parallel(12), spec=spec, out=tmp_path)
    assert caught.value.exit_code == 1
    text = str(caught.value)
    assert "Training stopped at step" in text
    assert "retain" in text
    assert "align" in text
    state = json.loads((tmp_path / "training" / "checkpoint" / "state.json").read_text())
    assert f"the one of step {state['step']} is in" in text
    assert state["step"] >= 2
    assert read_record(tmp_path).stopped == "nan"
    assert read_record(tmp_path).steps == state["step"]
    monkeypatch.undo()
    done = train(model, space, parallel(12), spec=spec, out=tmp_path)
    assert done.resumed_at == state["step"]
    assert same(weights(done.model), weights(train(model, space, parallel(12), spec=spec).model))


def test_central_states_are_shared_between_target_languages(model, space, tmp_path):
    rows = parallel(8)
    counts = [
        train(model, space, rows, languages=[lang], spec=SPEC, cache=tmp_path).record.trunk
        for lang in ("sw", "hi")
    ]
    distinct = [len({row[lang] for row in rows}) for lang in ("en", "sw", "hi")]
    assert counts[0] == {"texts": sum(distinct[:2]), "computed": sum(distinct[:2]), "reused": 0}
    assert counts[1] == {
        "texts": distinct[0] + distinct[2],
        "computed": distinct[2],
        "reused": distinct[0],
    }
    both = train(model, space, rows, spec=SPEC, cache=tmp_path).record.trunk
    assert both["computed"] == 0


def test_states_are_shared_where_languages_have_other_rows(model, space, tmp_path):
    rows = parallel(9)
    del rows[0]["sw"], rows[3]["sw"], rows[2]["hi"], rows[7]["hi"]
    counts = [
        train(model, space, rows, languages=[lang], spec=SPEC, cache=tmp_path).record.trunk
        for lang in ("sw", "hi")
    ]
    first = {row["en"] for row in rows if "sw" in row}
    second = {row["en"] for row in rows if "hi" in row}
    assert counts[0]["reused"] == 0
    assert counts[1]["reused"] == len(first & second) > 0
    assert first != second


def test_what_was_computed_or_found_makes_no_difference(model, space, tmp_path):
    one, other = (train(model, space, parallel(8), spec=SPEC, cache=tmp_path) for _ in range(2))
    assert other.record.trunk["computed"] == 0
    assert same(weights(one.model), weights(other.model))


def test_layerwise_losses_pull_where_they_are_read(model, space):
    for at in ((2,), (2, 3), ("all",)):
        blocks = (2,) if at == (2,) else 2
        done = train(model, space, parallel(8), spec=replace(SPEC, at=at, blocks=blocks))
        assert done.record.points("train")[-1].terms["separate"] > 0
        assert changed(weights(model), weights(done.model))


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"languages": ["en"]}, SpaceError, "no target language beside 'en'"),
        ({"languages": ["zz"]}, SpaceError, "nothing of 'zz'"),
        ({"central": "sw"}, SpaceError, "start from 'en'"),
        ({"spec": TrainSpec(blocks=5)}, UsageError, "5 top blocks"),
        ({"spec": TrainSpec(at=(0,))}, UsageError, "block 0, which training does not change"),
        ({"rows": 1}, UsageError, "Training has 1 row"),
        ({"rows": 0}, SpaceError, "no target language"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_writes_nothing(
    model, space, tmp_path, options, error, word
):
    given = {"spec": SPEC} | options
    rows = parallel(given.pop("rows", 8))
    with pytest.raises(error, match=word):
        train(model, space, rows, out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_quantised_weights_need_adapters(model, space, tmp_path):
    other = fork(model, (3,))
    for weight in other.blocks[3].whole.parameters():
        weight.requires_grad_(False)
        weight.data = weight.data.to(torch.int8)
    with pytest.raises(ModelError, match="quantised.*adapters"):
        train(other, space, parallel(8), spec=SPEC, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


DATED = "{{ strftime_now('%Y-%m-%d') }}{% for m in messages %}<{{ m.content }}>{% endfor %}"


def test_training_goes_on_with_the_day_on_which_it_began(tmp_path, monkeypatch):
    dated = tiny()
    dated = replace(dated, tokenizer=copy.deepcopy(dated.tokenizer))
    dated.tokenizer.chat_template = DATED
    space, out = made_up_space(dated), tmp_path / "out"
    spec = replace(SPEC, epochs=2, evaluate_every=2, chat=True)
    monkeypatch.setattr(checkpoints, "right_now", lambda: "2026-03-01T23:00:00+01:00")
    plain = train(dated, space, parallel(12), spec=spec)
    with pytest.raises(KeyboardInterrupt):
        train(dated, space, parallel(12), spec=spec, out=out, progress=interrupt_at(2))
    monkeypatch.setattr(checkpoints, "right_now", lambda: "2026-03-12T09:00:00+09:00")
    done = train(dated, space, parallel(12), spec=spec, out=out)
    assert done.resumed_at == 2
    assert same(weights(done.model), weights(plain.model))
    assert read_record(out).spec["clock"] == "2026-03-01T23:00:00+01:00"
    other = replace(spec, clock="2026-03-12T09:00:00+09:00")
    with pytest.raises(RunFolderError, match="data: "):
        train(dated, space, parallel(12), spec=other, out=out)
    told = replace(spec, chat_args={"messages_": 1})
    with pytest.raises(ModelError, match="does not use 'messages_'"):
        train(dated, space, parallel(12), spec=told)
