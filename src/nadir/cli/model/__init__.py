"""Commands about models: draw, export, promote.

Thin, with every heavy import inside the command.
"""
