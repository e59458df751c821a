"""What images show: counts, rarity and loss weights of tags, rules between them, captions.

Supplied tables of classes, aliases and implications are read here, too.
"""
