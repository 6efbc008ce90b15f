"""The control ``mean-main``: the mean vector over the main prompts of the other questions.

Something of the layer's size and form is there, but neither another language nor the question.
"""

from __future__ import annotations

from typing import ClassVar

from crosslatent.sweeps.control import Role, register_control
from crosslatent.sweeps.controls.mean import Mean


@register_control("mean-main")
class MeanMain(Mean):
    """The mean vector of the other questions as they are asked."""

    role: ClassVar[Role] = "main"
