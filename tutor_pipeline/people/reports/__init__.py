"""What people read: queries, the validation report, the back-test's page, CSV files.

Belongs here: reading what the pipeline wrote, and how it looks as a page or a file.
Does not belong here: changing rows, except the row that records a written report (`publish`).
"""
