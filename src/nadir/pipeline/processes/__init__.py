"""Processes of a pipeline run: started, watched, signalled and ended.

Locks say which run a workspace belongs to.
"""
