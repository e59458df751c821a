"""A version on its way to be live: considered, approved, moved, drawn by; and those removed."""
