"""Show what a dataset contains: text, pictures and pages."""
