"""One `.safetensors` file in Stability's layout, written and read.

Markers and metadata tell other programs the noise process; theirs are believed where they agree.
"""
