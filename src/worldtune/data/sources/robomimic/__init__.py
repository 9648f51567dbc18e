"""robomimic's and Isaac Lab's HDF5 files."""
