"""The MLflow store: found, opened, waited for, and its faults in words.

Embedded SQLite or a server, by the environment.
"""
