"""Processes of the registry's step: no stages of DVC, started by `pipeline`."""
