"""Exchange releases with other sites and tools."""
