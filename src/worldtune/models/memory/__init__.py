"""Ways to fit a base into memory: offloading, recomputation, chunks and sharding."""
