"""Drafts a mapping from the catalog and a sample of values, for a person to correct.

`catalog` reads the platform's columns and values, `likeness` compares names and values with words
that platforms use, `matching` chooses tables and columns, `drafting` writes the file.
"""
