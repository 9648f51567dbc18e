"""Code shared by all HDF5 sources."""
