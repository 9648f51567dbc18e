"""Policies in the simulator: closed-loop episodes, replay of labels, results, and the room of a task."""
