"""ALOHA's HDF5 files."""
