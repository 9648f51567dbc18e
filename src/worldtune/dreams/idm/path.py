"""The path of the states: displacements and positions, each read with an error, joined by least squares.

Displacements alone drift as they are summed, positions alone jump from frame to frame. The path p minimizes
Σ (p[t+1] − p[t] − d[t])² / σ_d² + Σ (p[t] − a[t])² / σ_a², with p[0] given if the start is known. This is the
smoothed mean of a Kalman filter with these two measurements.

Shape letters: T frames, I = T − 1 intervals, S numbers of a state.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
SIGMA_RATIO = 3.0  # of a state read from one frame over a displacement read from two
START_SIGMA = 1e-3  # of a known start, as a share of σ_d


def fuse_path(displacement_IS: Array, position_TS: Array, start_S: Array | None, sigma_ratio: float) -> Array:
    """Return the path (T, S) for σ_a = `sigma_ratio` · σ_d. `start_S` is the known first state, or None."""
    T = len(position_TS)
    step_IT = np.diff(np.eye(T), axis=0)
    rows = [step_IT, np.eye(T) / sigma_ratio]
    values = [displacement_IS.astype(np.float64), position_TS.astype(np.float64) / sigma_ratio]
    if start_S is not None:
        rows.append(np.eye(T)[:1] / START_SIGMA)
        values.append(start_S[None].astype(np.float64) / START_SIGMA)
    path_TS, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)
    return path_TS.astype(np.float32)
