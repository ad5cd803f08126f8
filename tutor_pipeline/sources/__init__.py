"""The platform's data: its contract, the CSV import (`csv`), the quarantine, changed sessions
(`changes`), and the synthetic platform (`synthetic`).

Belongs here: reading the platform's rows, and writing them where we made the platform.
Does not belong here: what a row means (dbt, `judgement`).
"""
