"""Options for loading third-party models."""

SAFE_LOADING = {"trust_remote_code": False}  # never run a model's own code
