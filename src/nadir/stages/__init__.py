"""One thin module per DVC stage: read parameters, call a room, write outputs."""

from nadir.compute.lean_start import start_stage
from nadir.compute.waiting import bound_spinning
from nadir.ground.inherited import forget_python_switches

# Before a stage loads its libraries.
forget_python_switches()
bound_spinning()
start_stage()
