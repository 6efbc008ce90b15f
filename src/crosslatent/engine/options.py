"""Whole options scored by teacher forcing: their tokens as a tree, read in one forward.

Options such as "(1)" and "(2)" share their first token, so that token tells nothing. Here every
token of every option is scored after what comes before it in the option; options that begin alike
share those tokens, and a token that nothing follows need not be read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from crosslatent.decoding import log_mass
from crosslatent.prefix import Step

ROOT = -1
"""Stands for the end of the prompt, whose logits are known already."""


@dataclass(slots=True)
class OptionTree:
    """The options of one prompt.

    Attributes:
        tokens: tokens to read, parents before children.
        parents: for each, what comes before it: another, or `ROOT`.
        paths: for each option its steps: what was read last, and the token whose probability after
            it counts.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    paths: list[list[tuple[int, int]]] = field(default_factory=list)

    @classmethod
    def of(cls, options: Sequence[Sequence[int]]) -> OptionTree:
        """Build the tree of options, given as token ids."""
        tree = cls()
        known: dict[tuple[int, ...], int] = {(): ROOT}
        for option in options:
            tree.paths.append([])
            for at, token in enumerate(option):
                before = tuple(option[:at])
                if before not in known:
                    known[before] = len(tree.tokens)
                    tree.tokens.append(before[-1])
                    tree.parents.append(known[before[:-1]])
                tree.paths[-1].append((known[before], token))
        return tree

    def depth(self, node: int) -> int:
        """How many tokens of the option come before a token that is read."""
        return 0 if self.parents[node] == ROOT else 1 + self.depth(self.parents[node])

    def past(self, node: int) -> list[int]:
        """The tokens that a token may see: itself and those before it."""
        return [node] if self.parents[node] == ROOT else [node, *self.past(self.parents[node])]


def read_all(trees: Sequence[OptionTree], start: int) -> tuple[Tensor, Step]:
    """The tokens of several prompts' trees side by side.

    Args:
        trees: one for each group; a smaller tree is filled up with tokens that nobody reads.
        start: depth of the first token of an option.

    Returns:
        Token ids, groups pos; and what they may see.
    """
    width = max(len(tree.tokens) for tree in trees)
    tokens = torch.zeros((len(trees), width), dtype=torch.long)
    depths = torch.full((len(trees), width), start)
    seen = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for group, tree in enumerate(trees):
        for node, token in enumerate(tree.tokens):
            tokens[group, node] = token
            depths[group, node] = start + tree.depth(node)
            seen[group, node, tree.past(node)] = True
    return tokens, Step(depths, seen)


def scores(tree: OptionTree, root: Tensor, mass: Tensor, nodes: Tensor | None) -> Tensor:
    """Log-probability (nats) of each option in each row, rows options.

    Args:
        tree: the options.
        root: logits at the end of the prompt, rows vocab.
        mass: their `decoding.log_mass`, rows.
        nodes: logits at the tokens that were read, rows pos vocab; None if there were none.
    """
    total = root.new_zeros((len(root), len(tree.paths)), dtype=torch.float32)
    masses = {ROOT: mass}
    for option, path in enumerate(tree.paths):
        for node, token in path:
            logits = root if node == ROOT or nodes is None else nodes[:, node]
            if node not in masses:
                masses[node] = log_mass(logits)
            total[:, option] += logits[:, token].float() - masses[node]
    return total
