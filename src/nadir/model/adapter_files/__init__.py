"""Files that hold an adapter alone: kohya's names, which every program reads, and diffusers'."""
