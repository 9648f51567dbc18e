"""The loss of the base's codec: real videos through its VAE and back. It limits the quality of every adapter."""

from collections.abc import Sequence

from worldtune.core.progress import Progress, silent
from worldtune.evaluation.cache.score_cache import BASE_LOADER, code_key
from worldtune.evaluation.cache.video_cache import Key, VideoCache
from worldtune.evaluation.cases.case import Video
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import ENCODER_VERSIONS
from worldtune.latents.store import load_tensor
from worldtune.models.world import World


def decode_round_trips(
    world: World,
    clips: Sequence[LatentClip],
    video_cache: VideoCache,
    progress: Progress = silent,
) -> dict[str, list[Video]]:
    """Return the decoded latent of each clip, a list of one video by clip name. Add missing videos to the cache.

    Raise UserError if the folder of `video_cache` is not writable.
    """
    videos: dict[str, list[Video]] = {}
    for done, clip in enumerate(clips, start=1):
        key = _key(world, clip)
        if not video_cache.path(key).is_file():
            (frames_THWC,) = world.decode(load_tensor(clip.latent)[None].to(world.device)).cpu().numpy()
            video_cache.put(key, frames_THWC)
        videos[clip.clip.name] = [video_cache.video(key)]
        progress(done, len(clips), "codec")
    world.release_encoders()
    return videos


def _key(world: World, clip: LatentClip) -> Key:
    """Return the cache key: everything that a round trip depends on."""
    computed = [world.device.type, str(world.dtype)]
    made_by = {**ENCODER_VERSIONS, "code": code_key(__name__, BASE_LOADER), "codec": world.card.codec_digest}
    return {**made_by, "round trip": clip.latent.sha256, "computed": computed}
