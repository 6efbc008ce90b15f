"""Measurements of one sweep instance under several schemes; see README.md of this folder."""
