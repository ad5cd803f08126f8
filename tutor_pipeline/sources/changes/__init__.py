"""Which sessions changed on the platform, and which of them a refresh has processed.

Belongs here: versions of sessions, the ledger of processed sessions, the queue of changes.
Does not belong here: what a refresh does with them, when one runs, messages.
"""
