"""Drawing: the one place that turns prompts into pictures.

The command line, previews, evaluation and the served model all draw by it, so equal settings give
equal pictures.
"""
