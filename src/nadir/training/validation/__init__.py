"""Does it work: held-out error while training goes on, and alarms for known ways to fail."""
