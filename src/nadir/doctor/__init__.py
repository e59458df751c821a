"""`nadir doctor`: what on this machine, in this workspace or of its servers would break a run.

Each check is a small function in `checks`, named in that package's list. Nothing but the standard
library is imported before a check needs it, so that what is broken can be said by what is not.
"""
