"""Forecasts of departures: who leaves within 30 days, and why.

tutors        departure_v1: the signs of tutors
students      student_departure_v1: the signs of students
forecast      what a forecast is: whom it is about, and by which signs
signs         a forecast's signs.yml: weights and words of its signs
measures      how a sign is measured, for tutors and students alike
reference     what is usual on the platform: the yardstick of every sign
outcomes      who left after past weeks
learning      makes a version from documented weights and recorded departures
version       what a version is, as JSON
scorer        scores with a version and a reference: how likely, how sure, why
challenger    what departures alone would teach, for comparison
"""
