"""worldtune: tune a video world model to one robot, prove that the result helps, ship it with a paper trail."""

__version__ = "0.1.0"
