"""One thin module per DVC stage: read parameters, call a room, write outputs."""

from nadir.ground.inherited import forget_python_switches
from nadir.ground.waiting import bound_spinning

# Before a stage loads its libraries.
forget_python_switches()
bound_spinning()
