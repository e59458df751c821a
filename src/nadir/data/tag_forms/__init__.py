"""The forms in which other programs write tags: words, texts, JSON, classes and ratings."""
