"""Compare candidates in pairs, and apply gates."""
