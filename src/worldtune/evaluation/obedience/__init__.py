"""Whether a model obeys the given actions. Held-out experts cannot show it: scene and prompt tell their motion."""
