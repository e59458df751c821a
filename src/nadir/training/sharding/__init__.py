"""Several processes that each hold a share of the model (FSDP2)."""
