"""What broke in the pipeline: one row of `ops.incidents` per cause, from its first sign until it
is over.

Belongs here: opening, counting and closing incidents, what each kind means.
Does not belong here: noticing that something broke, telling anybody.
"""
