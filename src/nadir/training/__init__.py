"""The objective and the loop around it."""
