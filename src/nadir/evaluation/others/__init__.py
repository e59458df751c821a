"""Models made elsewhere, evaluated by the same protocol."""
