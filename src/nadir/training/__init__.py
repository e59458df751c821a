"""The objective and the loop around it."""

from nadir.compute.lean_start import start_lean

start_lean()
