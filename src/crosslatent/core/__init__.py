"""Shared by all packages: errors, value types, untrusted text, languages, subspaces of arrays."""

__version__ = "0.1.0"
