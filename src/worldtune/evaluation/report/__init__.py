"""The report: one static folder that opens without a server, and what else shows an evaluation."""
