"""Checkpoints: whole, taken from before if the last one was not finished, refused if damaged."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from filelock import FileLock

from crosslatent.core.errors import RunFolderError
from crosslatent.lens.training import checkpoints
from crosslatent.lens.training.checkpoints import (
    Checkpoint,
    Checkpointer,
    Progressed,
    locked,
    open_folder,
    refuse_difference,
)
from crosslatent.lens.training.record import CurvePoint


def checkpoint(step=3, best=True):
    point = CurvePoint(step, 0.5, "train", 1e-3, 0.25, {"align": 0.25})
    state = Progressed(step, [point], step, 0.25, 1, None, {"train": 1.5})
    weights = {"w": torch.full((2, 2), float(step))}
    return Checkpoint(state, weights, {"exp_avg:w": torch.ones(2, 2)}, weights if best else None)


def test_what_was_saved_is_loaded(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    assert checkpointer.load() is None
    for best in (True, False):
        checkpointer.save(checkpoint(best=best))
        found = checkpointer.load()
        assert found.progressed == checkpoint().progressed
        assert torch.equal(found.weights["w"], torch.full((2, 2), 3.0))
        assert torch.equal(found.optimizer["exp_avg:w"], torch.ones(2, 2))
        assert (found.best is not None) == best
    assert {path.name for path in (tmp_path / "training").iterdir()} == {"checkpoint"}


def test_a_checkpoint_that_was_cut_off_is_not_seen(tmp_path, monkeypatch):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(checkpoint(3))

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_json", fail)
    with pytest.raises(RunFolderError, match="No space left.*goes on from the one before"):
        checkpointer.save(checkpoint(4))
    monkeypatch.undo()
    assert checkpointer.load().progressed.step == 3
    checkpointer.save(checkpoint(5))
    assert checkpointer.load().progressed.step == 5


def test_the_one_before_serves_if_the_exchange_was_cut_off(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(checkpoint(3))
    checkpointer.path.rename(checkpointer.path.with_name("checkpoint.before"))
    shutil.copytree(
        checkpointer.path.with_name("checkpoint.before"),
        checkpointer.path.with_name("checkpoint.next"),
    )
    assert checkpointer.load().progressed.step == 3
    checkpointer.save(checkpoint(4))
    assert checkpointer.load().progressed.step == 4
    assert {path.name for path in (tmp_path / "training").iterdir()} == {"checkpoint"}


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "optimizer.safetensors"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(checkpoint())
    (checkpointer.path / name).write_bytes(b"{")
    with pytest.raises(RunFolderError, match="damaged.*--new"):
        checkpointer.load()


def test_the_step_is_known_without_weights_which_may_be_gone(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    assert checkpointer.step() == 0
    checkpointer.save(checkpoint(4))
    (checkpointer.path / "weights.safetensors").write_bytes(b"{")
    assert checkpointer.step() == 4
    checkpointer.prune()
    assert [path.name for path in checkpointer.path.iterdir()] == ["state.json"]
    assert checkpointer.step() == 4
    (checkpointer.path / "state.json").write_bytes(b"{")
    with pytest.raises(RunFolderError, match="damaged.*--new"):
        checkpointer.step()


def test_another_run_is_refused_by_what_differs(tmp_path):
    arguments = {"spec": {"lr": 0.1, "at": ["final"]}, "data": "a"}
    open_folder(tmp_path, arguments, new=False)
    open_folder(tmp_path, arguments, new=False)
    with pytest.raises(RunFolderError) as caught:
        open_folder(tmp_path, {"spec": {"lr": 0.2, "at": ["final"]}, "data": "b"}, new=False)
    assert "(data: 'a' there, 'b' now; spec.lr: 0.1 there, 0.2 now)" in str(caught.value)
    refuse_difference(tmp_path, {"spec": {"lr": 0.1, "at": ("final",)}, "data": "a"})


def test_new_throws_away_a_run_and_nothing_else(tmp_path):
    open_folder(tmp_path, {"lr": 1}, new=False)
    Checkpointer(tmp_path).save(checkpoint())
    (tmp_path / "model.safetensors").write_bytes(b"old")
    (tmp_path / "mine.txt").write_text("mine")
    checkpointer = open_folder(tmp_path, {"lr": 2}, new=True)
    assert checkpointer.load() is None
    assert json.loads((tmp_path / "training" / "arguments.json").read_text()) == {"lr": 2}
    assert not (tmp_path / "model.safetensors").exists()
    assert (tmp_path / "mine.txt").exists()


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    lock = FileLock(tmp_path / ".lock")
    with lock, pytest.raises(RunFolderError, match="Another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
