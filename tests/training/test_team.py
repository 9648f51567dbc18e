"""Two processes over gloo, each a real one: what one process does with the whole batch, they do together."""
