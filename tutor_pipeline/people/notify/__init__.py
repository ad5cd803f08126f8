"""Delivery: the right message to the right person, once.

`outbox` notes what people are to be told, in the transaction of what it is about. `compose` makes
messages of what is due (`facts` reads, `render` writes them). `deliver` brings each to each
address: it claims, sends through `targets` and `mail`, and marks, and tries again what failed.

Belongs here: who is told what, how it reads, and getting it there. Does not belong here: whether
there is anything to tell (`lifecycle`, `incidents`), and when (`defs.delivery`).
"""
