"""`lens-train`: the model's top blocks, trained with the losses of Lens on parallel prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from crosslatent.lens.probing import probe
from crosslatent.lens.states import encode_texts
from crosslatent.lens.training.fork import parameters_of
from crosslatent.lens.training.lens_objective import train
from crosslatent.lens.training.train_spec import MODEL
from crosslatent.methods.method import Bench, League, Method, Settings, Way, register_method
from crosslatent.methods.tuning import LEAST, spec_of, unsupported

if TYPE_CHECKING:
    from crosslatent.model import Model


@register_method("lens-train")
class LensTraining(Method):
    """Training of Lens (arXiv 2410.04407) on pilot prompts and their counterparts, without answers.

    Subspaces are probed from the same prompts. Of the trained model, the weights of the trained
    blocks alone are kept; they take the place of the model's own while it answers.
    """

    league: ClassVar[League] = "none"
    title = "Lens, trained"
    about = "The top blocks, trained to bring languages together on parallel pilot prompts."
    source = "arXiv 2410.04407"
    for_each = False
    fits = True
    seeded = True

    def refusal(self, bench: Bench) -> str:
        """Weights that cannot be trained, or too few parallel texts."""
        rows = len(_rows(bench))
        few = (
            f"{self.title} learns from prompts with their counterparts, and there are {rows}: give "
            f"{LEAST} or more."
            if rows < LEAST
            else ""
        )
        return unsupported(bench.model, self.title) or few

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Learning rates and passes; the released training's are 1e-5 and 1."""
        grid = tuple(
            {"lr": lr, "epochs": epochs} for lr, epochs in ((1e-4, 3), (1e-5, 1), (1e-3, 3))
        )
        return grid[:1] if bench.quick else grid

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Probe, and train the top blocks.

        Raises:
            SpaceError: a language with too few texts.
            TrainingError: the loss is no longer a finite number.
        """
        del langs
        rows = _rows(bench)
        central = bench.learn[0].aux_lang
        texts = {
            lang: [row[lang] for row in rows if lang in row]
            for lang in dict.fromkeys(lang for row in rows for lang in row)
        }
        spec = spec_of(bench.chat, bench.model, settings, seed, batch_size=8, save_dtype=MODEL)
        space = probe(
            bench.model,
            texts,
            central=central,
            chat=spec.chat,
            chat_args=spec.chat_args,
            max_tokens=spec.max_tokens,
            held_out=0.0,  # nothing is reported of the space itself
        )
        trained = train(bench.model, space, rows, central=central, spec=spec)
        blocks = spec.trained_blocks(bench.model.n_layers)
        way = _TrainedBlocks(bench.model, parameters_of(trained.model, blocks))
        every = [text for several in texts.values() for text in several]
        way.unlabelled = sum(map(len, encode_texts(bench.model, every).ids))
        return way


class _TrainedBlocks(Way):
    """Weights that take the place of those of some blocks."""

    def __init__(self, model: Model, weights: Mapping[str, Tensor]) -> None:
        self.model = model
        self.state = {name: weight.detach().cpu() for name, weight in weights.items()}
        self.trained = sum(weight.numel() for weight in self.state.values())

    @contextmanager
    def installed(self) -> Iterator[None]:
        """While open, the trained weights are the model's."""
        own = {
            name: (weight, weight.data)
            for name, weight in self.model.hf.named_parameters()
            if name in self.state
        }
        try:
            for name, (weight, _) in own.items():
                weight.data = self.state[name].to(weight)
            yield
        finally:
            for weight, data in own.values():
                weight.data = data


def _rows(bench: Bench) -> list[dict[str, str]]:
    """Prompts in several languages that have the same counterpart, with it."""
    rows: dict[str, dict[str, str]] = {}
    for item in bench.learn:
        if item.aux and item.lang != item.aux_lang:
            rows.setdefault(item.aux, {item.aux_lang: item.aux})[item.lang] = item.main
    return list(rows.values())
