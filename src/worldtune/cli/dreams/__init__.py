"""The verbs of inverse dynamics, dreams and policies."""
