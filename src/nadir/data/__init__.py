"""Images and tags: sources, inspection, the gate, statistics, buckets, batches, latents."""
