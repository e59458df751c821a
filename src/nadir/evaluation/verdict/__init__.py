"""Is a challenger better than the champion?

Paired values, intervals that hold for few of them, and the rule that makes a verdict of both.
"""
