"""The kinds of events that people sign."""
