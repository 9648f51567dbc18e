"""The computation of an adapter in a frozen linear layer."""
