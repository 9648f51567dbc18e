"""What the dreams of a study would need with a large base model on a data-center GPU."""

from worldtune.core.files import write_json
from worldtune.core.ranges import Count
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.settings import StudySettings
from worldtune.models.catalog import BY_NAME
from worldtune.planning.gpus import find_gpu
from worldtune.planning.plan import UTILIZATION, VideoSettings, plan_what

BASE, GPU = "predict2.5-2b/post-trained", "h100"


class Forecast(StrictModel):
    """The planned time and disk of `dreams` dreams of a base, at a share (`utilization`) of a GPU's peak speed."""

    base: str
    gpu: str
    utilization: float
    frames: Count
    height: Count
    width: Count
    evaluations: Count
    dreams: Count
    gpu_hours: float
    disk_gib: float


def make_forecast(settings: StudySettings, folder: StudyFolder) -> Forecast:
    """Return the forecast for the dreams of one task and draw, planned once (it takes half a minute)."""
    if folder.forecast.is_file():
        return parse_model(Forecast, read_json(folder.forecast), str(folder.forecast))
    video = VideoSettings(steps=settings.steps, guidance=0, dreams=settings.dreams)
    dreams = plan_what(BASE, video, find_gpu(GPU)).dreams
    assert dreams is not None
    assert dreams.gpu_hours is not None
    base = BY_NAME[BASE]
    forecast = Forecast(
        base=BASE,
        gpu=GPU,
        utilization=UTILIZATION,
        frames=base.frames,
        height=base.height,
        width=base.width,
        evaluations=dreams.evaluations,
        dreams=dreams.count,
        gpu_hours=dreams.gpu_hours,
        disk_gib=sum(dreams.disk_gib.values()),
    )
    write_json(folder.forecast, forecast.model_dump(mode="json"))
    return forecast
