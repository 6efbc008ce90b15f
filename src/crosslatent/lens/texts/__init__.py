"""Texts by language, from files, folders and tasks.

`files` knows the forms of files, `streams` makes streams and parallel rows of them, `central` reads
texts of one language.
"""
