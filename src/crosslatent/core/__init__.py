"""What every room may use: errors, value types, untrusted text, languages, subspaces of arrays."""

__version__ = "0.1.0"
