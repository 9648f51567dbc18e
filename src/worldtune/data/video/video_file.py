"""Open a video file only as the container that its first bytes show.

FFmpeg guesses a file's format from its bytes, and some formats (concat scripts, playlists, manifests, image patterns)
are texts that name other files: the content of such a file can change while its bytes do not. Here the first bytes
choose one of the containers below, which contain their frames, and only that demuxer reads the file.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from worldtune.core.git_lfs import POINTER_MESSAGE, POINTER_PREFIXES, PULL_HINT, is_pointer_content
from worldtune.data.video.mp4_index import check_index
from worldtune.errors import DataError

READABLE_EXTENSIONS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
VIDEO_EXTENSIONS = (*READABLE_EXTENSIONS, ".3gp", ".flv", ".m2ts", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".wmv")
"""Extensions of videos in lower case; the first bytes of a file show its real format."""
MOV_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
"""Boxes that an MP4 or QuickTime file begins with (ISO/IEC 14496-12 §4.3; QuickTime has no ftyp)."""
EBML = bytes.fromhex("1A45DFA3")  # RFC 8794 §11.2.1: Matroska and WebM
MAX_PIXELS = 1 << 26  # of one frame: 8192×8192
DEMUXER_OPTIONS = {
    "mov": {"enable_drefs": "0", "use_absolute_path": "0"},  # no media data in other files
    "matroska": {},
    "avi": {},
}


def detect_container(path: Path) -> str:
    """Return FFmpeg's name of the container that the file's first bytes show.

    Raise DataError if the file cannot be read, is empty, a Git LFS pointer or not a regular file, or is not MP4,
    QuickTime, Matroska, WebM or AVI.
    """
    hint = "Copy it again, or remove its episode."
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("not a file", where=str(path), hint=hint)
        with path.open("rb") as file:
            head = file.read(max(map(len, POINTER_PREFIXES)))
    except OSError as error:
        raise DataError(f"the video cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    if not head:
        raise DataError("the file is empty", where=str(path), hint=hint)
    if is_pointer_content(head):
        raise DataError(POINTER_MESSAGE, where=str(path), hint=PULL_HINT)
    if head[4:8] in MOV_FIRST_BOXES:
        return "mov"
    if head[:4] == EBML:
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        return "avi"
    what = "the video is not an MP4, QuickTime, Matroska, WebM or AVI file"
    raise DataError(what, where=str(path), hint="Export it as MP4.")


@contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """Open the container; it can show nothing from other files.

    Raise DataError as `detect_container` does, if its index is larger than its data, and if FFmpeg cannot open it.
    """
    kind = detect_container(path)
    if kind == "mov":
        check_index(path)
    options = DEMUXER_OPTIONS[kind] | {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    try:  # "file:", so that a name such as "concat:x" stays a name
        container = av.open(f"file:{path}", format=kind, options=options, metadata_errors="replace")
    except (FFmpegError, IndexError) as error:  # PyAV raises IndexError on a header without streams
        text = error.strerror if isinstance(error, FFmpegError) else "no stream in the header"
        raise DataError(f"the video cannot be read: {text}", where=str(path), hint="Export it again.") from error
    with container:
        yield container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first video stream, ready to decode. Raise DataError if there is none that can be decoded."""
    if not container.streams.video:
        raise DataError("the file has no video stream", where=str(path), hint="Export it again.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise DataError("the codec of its video is unknown", where=str(path), hint="Export it as H.264.")
    if stream.width * stream.height > MAX_PIXELS:
        what = f"its frames are {stream.width}×{stream.height}, more than {MAX_PIXELS:,} pixels"
        raise DataError(what, where=str(path), hint="Export it smaller.")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # frames may be larger than the header says
    return stream


def read_packets(container: InputContainer, stream: VideoStream, path: Path) -> Iterator["av.Packet[VideoStream]"]:
    """Yield the stream's packets, from the container's position.

    Raise DataError once they hold twice the bytes of the file: its index then names the same bytes again and again.
    (A limit of once would reject edit lists, whose parts overlap by what a decoder needs before each.)
    """
    budget = 2 * path.stat().st_size
    for packet in container.demux(stream):
        budget -= max(packet.size, 1) if packet.dts is not None or packet.size else 0
        if budget < 0:
            what = "the video claims more than the file holds: its index names the same bytes again and again"
            raise DataError(what, where=str(path), hint="Export it again.")
        yield packet
