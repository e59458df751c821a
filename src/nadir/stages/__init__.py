"""One thin module per DVC stage: read parameters, call a room, write outputs."""

from nadir.compute.waiting import bound_spinning

bound_spinning()  # before a stage loads torch
