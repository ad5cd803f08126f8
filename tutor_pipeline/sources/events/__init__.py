"""Events that a platform pushes: the third door beside its database and its CSV exports.

A request is verified (`receiver`), its events are stored before it is answered (`inbox`), and
applied to the rows of a platform that is ours (`applying`), the later one winning field by field
(`merging`). What an event may say stands in `types.yml`.

Belongs here: everything between a request and the platform's tables.
Does not belong here: what follows from a changed row, which is noticed as any change is
(`sources.changes`).
"""
