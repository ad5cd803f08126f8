"""What comes in: the platform's contract, the CSV import, the quarantine."""
