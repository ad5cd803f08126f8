"""What comes in: the platform's contract, the CSV import (`csv`), the quarantine, which sessions
changed (`changes`), and the made-up platform (`synthetic`).

Belongs here: reading the platform's rows, and writing them where we made the platform.
Does not belong here: what a row means (dbt, `judgement`).
"""
