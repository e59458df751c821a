"""Where images come from.

A *store* (`local`, `s3`) lists files and reads them. A *layout* (`sidecars`, `metadata`) knows
which of them are images and where their tags are. A *source* is both; `detect` makes one from a
location.
"""
