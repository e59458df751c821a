"""`params.yaml` as frozen models, one module per section."""
