"""Tutor-quality intelligence: platform tables in, alerts that people act on out."""
