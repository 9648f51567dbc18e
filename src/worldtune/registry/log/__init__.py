"""The event log and its state: signed events in a chain, one reducer, a verified replica."""
