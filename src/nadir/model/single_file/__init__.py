"""One `.safetensors` file in Stability's layout, written and read.

Markers and metadata name the noise process to other programs; theirs are believed where they agree.
"""
