"""What one image file is: decoded by fixed rules, measured, remembered.

`listing` runs it over a whole source, in processes of its own.
"""
