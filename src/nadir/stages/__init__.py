"""One thin module per DVC stage: read parameters, call a room, write outputs."""
