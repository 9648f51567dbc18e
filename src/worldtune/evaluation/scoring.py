"""Every metric of one generated video beside the real one of the same first frame.

Shape letters: T frames, H height, W width, C channels.
"""

from dataclasses import dataclass
from functools import cached_property

from worldtune.evaluation.case import Frames
from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.metrics.background import background_drift
from worldtune.evaluation.metrics.fidelity import moving_psnr, mse_by_frame, psnr_from_mse, ssim_by_frame
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.metrics.flow import flicker_ratio, motion_agreement
from worldtune.evaluation.metrics.geometry import Sampson, sampson, sampson_ratio, steps
from worldtune.evaluation.metrics.motion import motion_ratio
from worldtune.evaluation.metrics.objects import object_permanence
from worldtune.evaluation.metrics.sharpness import sharpness_ratio


@dataclass(frozen=True, eq=False)
class Real:
    """The real video of a case, and what is asked of it again for every candidate."""

    film: Film

    @cached_property
    def sampson(self) -> Sampson:
        return sampson(steps(self.film.grey_THW))


def score(frames_THWC: Frames, real: Real) -> Scores:
    """Both videos are uint8 (T, H, W, 3); frame 0 is given and not scored where it would only flatter."""
    film, reference_THWC = Film(frames_THWC), real.film.frames_THWC
    mse_t, ssim_t = mse_by_frame(frames_THWC, reference_THWC), ssim_by_frame(frames_THWC, reference_THWC)
    points = sampson(steps(film.grey_THW))
    values: dict[str, float | None] = {
        "psnr_db": psnr_from_mse(float(mse_t.mean())),
        "moving_psnr_db": moving_psnr(frames_THWC, reference_THWC),
        "ssim": sum(ssim_t) / len(ssim_t),
        "motion_ratio": motion_ratio(frames_THWC, reference_THWC),
        "motion_agreement": motion_agreement(film, real.film),
        "background_drift": background_drift(film, real.film),
        "flicker_ratio": flicker_ratio(film, real.film),
        "sharpness_ratio": sharpness_ratio(film, real.film),
        "sampson_ratio": sampson_ratio(points, real.sampson),
        "match_ratio": points.matches / real.sampson.matches if real.sampson.matches else None,
        "object_permanence": object_permanence(film, real.film),
    }
    return Scores(values, {"psnr_db": [psnr_from_mse(mse) for mse in mse_t.tolist()], "ssim": ssim_t})
