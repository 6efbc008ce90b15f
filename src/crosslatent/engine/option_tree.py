"""Whole options scored by teacher forcing: their tokens as a tree, read in one forward.

Options such as "(1)" and "(2)" share their first token, so that token tells nothing. Here every
token of every option is scored after what comes before it in the option; options that begin alike
share those tokens, and a token that nothing follows need not be read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from crosslatent.engine.decoding import logsumexp
from crosslatent.engine.prefix_layout import Step

ROOT = -1
"""Index of the end of the prompt, whose logits are known already."""


@dataclass(slots=True)
class OptionTree:
    """The options of one prompt.

    Attributes:
        tokens: tokens to read, parents before children.
        pasts: for each, the tokens that it may see: those before it in the option, and itself.
        paths: for each option its steps: what was read last, and the token whose probability after
            it counts.
    """

    tokens: list[int] = field(default_factory=list)
    pasts: list[list[int]] = field(default_factory=list)
    paths: list[list[tuple[int, int]]] = field(default_factory=list)

    @classmethod
    def of(cls, options: Sequence[Sequence[int]]) -> OptionTree:
        """Build the tree of options, given as token ids."""
        tree = cls()
        children: dict[tuple[int, int], int] = {}
        for option in options:
            nodes = [ROOT]
            for token in option[:-1]:
                node = children.setdefault((nodes[-1], token), len(tree.tokens))
                if node == len(tree.tokens):
                    tree.tokens.append(token)
                    tree.pasts.append([*nodes[1:], node])
                nodes.append(node)
            tree.paths.append(list(zip(nodes, option, strict=True)) if option else [])
        return tree


def read_all(trees: Sequence[OptionTree], start: int) -> tuple[Int[Tensor, "groups pos"], Step]:
    """The tokens of several prompts' trees side by side.

    Args:
        trees: one for each group; a smaller tree is padded with tokens whose logits are unused.
        start: depth of the first token of an option.

    Returns:
        Token ids, and what they may see.
    """
    width = max(len(tree.tokens) for tree in trees)
    tokens = torch.zeros((len(trees), width), dtype=torch.long)
    depths = torch.full((len(trees), width), start)
    seen = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for group, tree in enumerate(trees):
        for node, token in enumerate(tree.tokens):
            tokens[group, node] = token
            depths[group, node] = start + len(tree.pasts[node]) - 1
            seen[group, node, tree.pasts[node]] = True
    return tokens, Step(depths, seen)


def scores(
    tree: OptionTree,
    root: Float[Tensor, "rows vocab"],
    mass: Float[Tensor, " rows"],
    nodes: Float[Tensor, "rows pos vocab"] | None,
) -> Float32[Tensor, "rows options"]:
    """Log-probability (nats) of each option in each row.

    Args:
        tree: the options.
        root: logits at the end of the prompt.
        mass: their `engine.decoding.logsumexp`.
        nodes: logits at the tokens that were read; None if there were none.
    """
    total = root.new_zeros((len(root), len(tree.paths)), dtype=torch.float32)
    masses = {ROOT: mass}
    for option, path in enumerate(tree.paths):
        for node, token in path:
            logits = root if node == ROOT or nodes is None else nodes[:, node]
            if node not in masses:
                masses[node] = logsumexp(logits)
            total[:, option] += logits[:, token].float() - masses[node]
    return total
