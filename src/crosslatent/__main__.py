"""``python -m crosslatent`` is the same as ``crosslatent``."""

from crosslatent.cli.app import entry

entry()
