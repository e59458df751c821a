"""Files that hold many images or rows: tars and parquet tables.

Each is indexed once per version and read by position afterwards.
"""
