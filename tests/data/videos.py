"""Videos whose every frame shows its number, and datasets made of them.

Shapes: T frames, H height, W width, C colors, S state and A action dimensions.
"""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.data.clip import Clip
from worldtune.data.export.lerobot_writer import EpisodeData
from worldtune.data.video.decode import write_video
from worldtune.data.video.footage import VideoFootage

BITS, BLOCK = 8, 8
SIDE = BITS * BLOCK


def film(length: int, tag: int = 0, first: int = 0) -> np.ndarray:
    """uint8 (T, 64, 64, 3): the top half shows the frame's number in black and white blocks, the lower half `tag`."""
    frames_THWC = np.zeros((length, SIDE, SIDE, 3), np.uint8)
    for t in range(length):
        frames_THWC[t, : SIDE // 2] = _blocks(first + t)
        frames_THWC[t, SIDE // 2 :] = _blocks(tag)
    return frames_THWC


def _blocks(number: int) -> np.ndarray:
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8)
    return np.repeat(bits * 255, BLOCK)[None, :, None]


def read_back(frames_THWC: np.ndarray) -> list[tuple[int, int]]:
    """Return (tag, number) of each frame, at any size whose sides divide by 8."""
    T, H, W, _ = frames_THWC.shape
    rows_TRBC = frames_THWC.reshape(T, 2, H // 2, BITS, W // BITS, 3).mean((2, 4, 5))
    numbers_TR = (rows_TRBC > 127) @ (1 << np.arange(BITS))
    return [(int(tag), int(number)) for number, tag in numbers_TR]


def whole(video: Path, length: int, start: int = 0) -> Clip:
    """Return a clip of frames start … start + length - 1 at their own size."""
    return Clip("here", "0", "c", "", "", VideoFootage(video, start), tuple(range(length)), 16, SIDE, SIDE, "stretch")


def trajectory(length: int, tag: int = 0, task: str = "lift the cup") -> EpisodeData:
    """Return an episode whose state 0 is the frame's number and whose action 0 is `tag`."""
    states_TS = np.stack([np.arange(length), np.zeros(length)], 1).astype(np.float32)
    actions_TA = np.full((length, 3), tag, np.float32)
    return film(length, tag), states_TS, actions_TA, task


def write_reordered_video(path: Path, frames_THWC: np.ndarray, fps: int) -> None:
    """Write a video as other tools do: B-frames, a long GOP, the index at the end."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "14", "bf": "3", "g": "250"})
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))


FORMATS = {"mkv": "matroska", "m4v": "mp4"}


def write_container(path: Path, frames_THWC: np.ndarray, fps: int, codec: str) -> None:
    """Write the container of the path's extension: a key frame every 12 frames, B-frames if the codec has them."""
    suffix = path.suffix.lower().removeprefix(".")
    with av.open(str(path), "w", format=FORMATS.get(suffix, suffix)) as container:
        options = {"g": "12"} | ({} if "vp" in codec else {"bf": "2"})
        stream: Any = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))


def write_uneven_video(path: Path, frames_THWC: np.ndarray, times: Sequence[int]) -> None:
    """Write frame i at times[i] / 16 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 16)
        for frame_HWC, time in zip(frames_THWC, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 16)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def cosmos_folder(root: Path, lengths: Mapping[str, int], fps: float = 16) -> Path:
    """Write `videos/` and `metas/`; the caption of X is "the robot does X"."""
    for part in ("videos", "metas"):
        (root / part).mkdir(parents=True)
    for tag, (stem, length) in enumerate(lengths.items()):
        write_video(root / "videos" / f"{stem}.mp4", film(length, tag), fps)
        (root / "metas" / f"{stem}.txt").write_text(f"the robot does {stem}\n")
    return root


def _info(version: str, cameras: Sequence[str], fps: float, lengths: Sequence[int], paths: dict[str, str]) -> Any:
    video = {"dtype": "video", "shape": [SIDE, SIDE, 3], "names": ["height", "width", "channels"]}
    return {
        "codebase_version": version,
        "fps": fps,
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "splits": {"train": f"0:{len(lengths)}"},
        "chunks_size": 1000,
        "features": {camera: dict(video) for camera in cameras} | {"observation.state": {"dtype": "float32"}},
        **paths,
    }


def _rows(episode: int, length: int, **columns: Any) -> pa.Table:
    state = pa.array([[float(t), 0.0] for t in range(length)], pa.list_(pa.float32()))
    return pa.table(
        {
            "observation.state": state,
            "action": pa.array(np.full(length, episode, np.float32)),
            "episode_index": pa.array([episode] * length),
            "frame_index": pa.array(range(length)),
            **{name: pa.array([value] * length) for name, value in columns.items()},
        }
    )


def write_v2(root: Path, lengths: Sequence[int], cameras: Sequence[str] = ("cam",), fps: float = 16) -> Path:
    """Write a LeRobot v2.1 dataset; a frame's tag is 10 · camera number + episode, its task "task <index % 2>"."""
    paths = {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    info = _info("v2.1", cameras, fps, lengths, paths) | {"total_tasks": 2, "total_chunks": 1}
    info["total_videos"] = len(cameras) * len(lengths)
    for folder in ("meta", "data/chunk-000", *(f"videos/chunk-000/{camera}" for camera in cameras)):
        (root / folder).mkdir(parents=True)
    episodes = [{"episode_index": e, "tasks": [f"task {e % 2}"], "length": n} for e, n in enumerate(lengths)]
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, episodes)) + "\n")
    write_tasks(root, ["task 0", "task 1"])
    for e, length in enumerate(lengths):
        pq.write_table(_rows(e, length, task_index=e % 2), root / f"data/chunk-000/episode_{e:06d}.parquet")
        for number, camera in enumerate(cameras):
            write_video(root / f"videos/chunk-000/{camera}/episode_{e:06d}.mp4", film(length, 10 * number + e), fps)
    return root


def write_tasks(root: Path, tasks: Sequence[str]) -> None:
    records = [{"task_index": index, "task": task} for index, task in enumerate(tasks)]
    (root / "meta/tasks.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")


def write_packed_v3(
    root: Path, lengths: Sequence[int], layout: Mapping[str, Sequence[Sequence[int]]], fps: float = 16, shift: float = 0
) -> Path:
    """Write a LeRobot v3.0 dataset with all rows in one data file; `layout[camera]` lists the episodes of each video.

    The tag of a frame is 10 · camera number + episode. `shift` (seconds) is added to every
    timestamp but the first of a file, like drift.
    """
    paths = {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    first = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    records: list[dict[str, Any]] = [
        {
            "episode_index": e,
            "tasks": [f"task {e % 2}"],
            "length": length,
            "data/chunk_index": 0,
            "data/file_index": 0,
            "dataset_from_index": first[e],
            "dataset_to_index": first[e + 1],
        }
        for e, length in enumerate(lengths)
    ]
    for number, (camera, files) in enumerate(layout.items()):
        for file, episodes in enumerate(files):
            folder_of_videos = root / f"videos/{camera}/chunk-{file % 2:03d}"
            folder_of_videos.mkdir(parents=True, exist_ok=True)
            parts = [film(lengths[e], 10 * number + e) for e in episodes]
            write_reordered_video(folder_of_videos / f"file-{file:03d}.mp4", np.concatenate(parts), int(fps))
            start = 0
            for e in episodes:
                late = shift if start else 0
                places = {"chunk_index": file % 2, "file_index": file}
                times = {"from_timestamp": start / fps + late, "to_timestamp": (start + lengths[e]) / fps + late}
                records[e] |= {f"videos/{camera}/{key}": value for key, value in (places | times).items()}
                start += lengths[e]
    for folder in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / folder).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(_info("v3.0", list(layout), fps, lengths, paths)))
    pq.write_table(pa.Table.from_pylist(records), root / "meta/episodes/chunk-000/file-000.parquet")
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": ["task 0", "task 1"]})
    pq.write_table(tasks, root / "meta/tasks.parquet")
    rows = pa.concat_tables([_rows(e, length) for e, length in enumerate(lengths)])
    pq.write_table(rows, root / "data/chunk-000/file-000.parquet")
    return root


def edit_info(root: Path, **changes: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def truncate(path: Path, share: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
