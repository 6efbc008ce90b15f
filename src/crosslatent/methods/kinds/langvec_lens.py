"""The language directions of Lens as language vectors: its steering."""

from __future__ import annotations

from typing import Any

from crosslatent.core.specs import Chat
from crosslatent.interventions.intervention import Intervention
from crosslatent.methods.language_vectors import LanguageVector, TextsRead
from crosslatent.methods.method import Bench, Settings, register_method


@register_method("langvec-lens")
class LanguageVectorLens(LanguageVector):
    """`lens.steering` along the directions that `lens.probing` finds; arXiv 2410.04407."""

    title = "language direction (Lens)"
    about = (
        "Adds the direction of the question's language in the language-specific subspace to the "
        "output of one block at every token."
    )
    source = "arXiv 2410.04407"
    pooling = "last"

    def learn(self, bench: Bench, read: TextsRead) -> Any:
        """The language subspaces of all blocks, a `lens.space.Space`.

        Raises:
            SpaceError: the states are not finite, or there is one language alone.
        """
        from crosslatent.lens.probing import probe

        chat = bench.chat
        return probe(
            bench.model,
            read.texts,
            central=read.central,
            pooling=self.pooling,
            held_out=0.0,
            chat=bool(chat),
            chat_args=dict(chat.arguments) if isinstance(chat, Chat) else {},
        )

    def row(
        self, bench: Bench, target: str, learnt: Any, settings: Settings
    ) -> tuple[Intervention, ...]:
        """The steering of one configuration."""
        from crosslatent.lens.steering import Steering, interventions_of

        steering = Steering(target, float(settings["alpha"]), (int(settings["layer"]),))
        return interventions_of(bench.model, learnt, steering)
