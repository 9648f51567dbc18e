"""Storage of the event log and the blobs."""
