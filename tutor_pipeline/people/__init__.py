"""What people are told and read: messages (`notify`), pages and queries (`reports`), and what broke
in the pipeline (`incidents`).

Belongs here: texts, pages, and getting them to people once.
Does not belong here: deciding whether there is anything to tell (`judgement`).
"""
