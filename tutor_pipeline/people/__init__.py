"""What people read: messages (`notify`), pages and queries (`reports`), incidents (`incidents`).

Belongs here: texts, pages, and delivering them to people once.
Does not belong here: deciding whether there is anything to tell (`judgement`).
"""
