"""Cameras around the Meta-World table, with their names in prompts.

Angles are MuJoCo's free-camera degrees; distances are meters from `LOOK_AT`.
"""

from dataclasses import dataclass, replace

import numpy as np

LOOK_AT = (0.0, 0.65, 0.10)


@dataclass(frozen=True)
class Spread:
    """The range of a camera around its view: ± degrees of azimuth and elevation, and two factors of the distance."""

    azimuth: float
    elevation: float
    distance: tuple[float, float]


FIXED = Spread(0, 0, (1, 1))  # a camera that is never moved
MOUNTED = Spread(4, 3, (0.97, 1.03))  # a camera of a robot cell that is remounted
ANYWHERE = Spread(18, 14, (0.95, 1.35))  # a camera on a tripod that is moved


@dataclass(frozen=True)
class View:
    name: str
    phrase: str
    azimuth: float
    elevation: float
    distance: float

    def moved(self, spread: Spread, rng: np.random.Generator) -> "View":
        """Return the view from another position, drawn uniformly within `spread`."""
        return replace(
            self,
            azimuth=self.azimuth + rng.uniform(-spread.azimuth, spread.azimuth),
            elevation=self.elevation + rng.uniform(-spread.elevation, spread.elevation),
            distance=self.distance * rng.uniform(*spread.distance),
        )


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("left", "Seen from the left", -130.0, -32.0, 1.10),
        View("right", "Seen from the right", -50.0, -32.0, 1.10),
        View("front", "Seen from the front", -90.0, -38.0, 1.10),
        View("far-left", "Seen from the far left", -165.0, -32.0, 1.15),
        View("far-right", "Seen from the far right", -15.0, -32.0, 1.15),
        View("top", "Seen from above", 90.0, -80.0, 1.50),
    )
}
