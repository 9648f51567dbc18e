"""Adapters as they are named on the command line."""
