"""Read tensors from files of many formats without running code in them."""
