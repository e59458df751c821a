"""Adapters: small weights inside of the frozen model, by peft where other programs read its forms.

`injection` puts them in, `rotation` is the one kind that peft has otherwise, `adapted` trains them.
"""
