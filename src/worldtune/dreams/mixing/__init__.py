"""Mix a real and a synthetic dataset."""
