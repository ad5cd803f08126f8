"""Forecasts of departures: who leaves within 30 days, and why.

tutors        departure_v1: the signs of tutors
students      student_departure_v1: the signs of students
forecast      what a forecast is: whom it asks about, and by which signs
signals       reading a forecast's signals.yml: weights and words of its signs
measures      how a sign is measured, whoever it is of
reference     what is usual on the platform: the yardstick of every sign
history       the evidence of past weeks, from the database
outcomes      what became of people after past weeks
learning      from documented weights and recorded departures to a version
version       what a version is, as JSON
scorer        a version and a reference say of each: how likely, how sure, why
challenger    what departures alone would teach, for comparison
"""
