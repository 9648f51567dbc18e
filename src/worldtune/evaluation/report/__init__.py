"""The report, one static folder that opens without a server, and other views of an evaluation."""
