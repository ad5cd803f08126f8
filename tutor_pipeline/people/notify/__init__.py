"""Messages to people: each message to each of its addresses, once.

`kinds` has a module per kind of message: it notes in the `outbox` what people must be told, in the
transaction that changes it, and makes messages of notes: data, words, templates. `compose` asks it
for messages of the notes that are due. `deliver` sends each message to each address through
`targets` and `mail`, marks the result, and tries again after a failure. `delivery_status` answers
what became of the messages.

Belongs here: who is told what, the text, and the delivery.
Does not belong here: whether there is anything to tell (`judgement`, `people.incidents`), and when
messages are sent (`defs.delivery`).
"""
