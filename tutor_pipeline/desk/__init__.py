"""The desk: the web pages of administrators and coaches, who read alerts and act on them.

Belongs here: what a browser is shown and may do; who may sign in (`access`). Pages are functions
from a visit to an answer (`pages`), on templates; all they read of alerts, metrics and scores goes
through `queries`, all they change through `judgement.lifecycle`.
Does not belong here: what an alert is or becomes (`judgement`), Dagster, the start of a server
(`cli`). Nothing but the command line imports this package.
"""
