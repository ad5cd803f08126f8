"""Who may enter the desk: accounts, passwords, one-time links, browsers that are signed in.

Belongs here: what both the desk and `tutor-pipeline users` do. Does not belong here: HTTP.
"""
