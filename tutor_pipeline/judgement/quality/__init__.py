"""Data quality: what must hold of the data, whether it does, and what then is not derived.

Belongs here: the suites (data), running them (`run`, the only importer of Great Expectations),
their outcomes (`results`) and the guard before whatever is derived (`guard`). Does not belong here:
deciding which rows are set aside, which is staging's (`session_rows`), and how it is reported.
"""
