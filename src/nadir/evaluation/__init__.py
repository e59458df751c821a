"""What a checkpoint can do: the protocol, the images, the metrics, the report."""
