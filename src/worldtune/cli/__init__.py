"""The command line: one file for each verb; the files only parse and print."""
