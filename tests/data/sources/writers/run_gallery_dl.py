"""Runs gallery-dl with the arguments of this script, in whose environment it is installed."""

import runpy

runpy.run_module("gallery_dl", run_name="__main__")
