"""Commands about datasets: accept, verify latents, draw sample pictures.

Thin, with every heavy import inside the command.
"""
