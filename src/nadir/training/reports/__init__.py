"""What a training says of itself: history, tracker, previews, departures from the paper.

Nothing here changes a weight.
"""
