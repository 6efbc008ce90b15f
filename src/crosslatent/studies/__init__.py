"""Whole jobs on a user's own questions, from prompts to an answer that can be used."""

from crosslatent.studies.improvement import Improvement, improve

__all__ = ["Improvement", "improve"]
