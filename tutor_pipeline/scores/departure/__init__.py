"""departure_v1: who leaves within 30 days, and why.

signals.yml   which signs there are, what they are worth before anything was learned, their words
evidence      what of a tutor's columns is a sign: now, against the tutor's own past
reference     what is usual on the platform: the yardstick of every sign
history       the evidence of past weeks, from the database
outcomes      what became of tutors after past weeks
learning      from documented weights and recorded departures to a version
version       what a version is, as JSON
scorer        a version and a reference say of each tutor: how likely, how sure, why
challenger    what departures alone would teach, for comparison
"""
