"""A registered version as MLflow serves it: requests within bounds, pictures out.

`model_code` is the file that MLflow copies into every version.
"""
