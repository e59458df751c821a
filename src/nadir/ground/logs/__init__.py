"""The lines a process prints and logs, as text or, by `NADIR_LOG=json`, as one JSON object each.

Importing this package imports none of its modules; `setup.begin` is where a program starts.
"""
