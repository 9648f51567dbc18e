"""Cache videos and scores by the digest of everything they depend on."""
