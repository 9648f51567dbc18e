"""Behavior cloning: episodes of datasets and demonstrations, samples, the network, and its training."""
