"""The event log and the state that it says: signed events in a chain, one reducer, a verified replica."""
