"""Datasets: decoding, copies, curation, stock readers."""
