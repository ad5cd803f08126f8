"""The desk: the web pages of administrators and coaches, who read alerts and act on them.

Belongs here: what a browser is shown and may do. Pages are functions from a visit to an answer
(`pages`), on templates. They read through `queries` and what `people.reports` shares with the
command line, and change through `judgement.lifecycle`.
Does not belong here: what an alert is or becomes (`judgement`), accounts (`people.access`),
Dagster.
Nothing imports this package: the command line starts it as a process.
"""
