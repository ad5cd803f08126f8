"""The receiver of events: an HTTP API, and the thread that applies what it stored.

It runs in the desk's process, or alone (`tutor-pipeline events serve`).
"""
