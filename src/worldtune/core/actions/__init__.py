"""The meaning of a robot's actions, and the form in which a model reads them."""
