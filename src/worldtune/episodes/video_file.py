"""Open a video file as nothing but the container it begins as.

FFmpeg guesses a file's format from its bytes, and some formats (concat scripts, playlists, manifests, image patterns)
are texts that name other files: what such a file shows changes while its own bytes stay. Here the first bytes choose
one of the containers below, which holds its pictures itself, and that demuxer alone reads the file.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from worldtune.episodes.mp4_index import check_index
from worldtune.errors import DataError

MOV_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
"""Boxes that an MP4 or QuickTime file begins with (ISO/IEC 14496-12 §4.3; QuickTime has no ftyp)."""
EBML = bytes.fromhex("1A45DFA3")  # RFC 8794 §11.2.1: Matroska and WebM
MAX_PIXELS = 1 << 26  # of one picture: 8192×8192
ALONE = {
    "mov": {"enable_drefs": "0", "use_absolute_path": "0"},  # no media data in other files
    "matroska": {},
    "avi": {},
}


def container_of(path: Path) -> str:
    """Return FFmpeg's name of the container that the file begins as.

    Raises DataError if the file cannot be read, is empty or not a regular file, or is none of MP4, QuickTime,
    Matroska, WebM and AVI.
    """
    mend = "Copy it again, or remove its episode."
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("not a file", where=str(path), mend=mend)
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise DataError(f"the video cannot be read: {error.strerror}", where=str(path), mend=mend) from error
    if not head:
        raise DataError("the file is empty", where=str(path), mend=mend)
    if head[4:8] in MOV_FIRST:
        return "mov"
    if head[:4] == EBML:
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        return "avi"
    what = "the video is not an MP4, QuickTime, Matroska, WebM or AVI file"
    raise DataError(what, where=str(path), mend="Export it as MP4.")


@contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """Open the container; what is in the file is all that it can show.

    Raises DataError as `container_of` does, if its index is larger than its data, and if FFmpeg cannot open it.
    """
    kind = container_of(path)
    if kind == "mov":
        check_index(path)
    options = ALONE[kind] | {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    try:  # with its protocol, so that a name such as "concat:x" is a name
        container = av.open(f"file:{path}", format=kind, options=options, metadata_errors="replace")
    except (FFmpegError, IndexError) as error:  # PyAV raises IndexError on a header without streams
        text = error.strerror if isinstance(error, FFmpegError) else "no stream in the header"
        raise DataError(f"the video cannot be read: {text}", where=str(path), mend="Export it again.") from error
    with container:
        yield container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first video stream, ready to decode. Raises DataError if there is none, or none that can be shown."""
    if not container.streams.video:
        raise DataError("the file has no video stream", where=str(path), mend="Export it again.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise DataError("its pictures are of a codec that is not known", where=str(path), mend="Export it as H.264.")
    if stream.width * stream.height > MAX_PIXELS:
        what = f"its pictures are {stream.width}×{stream.height}, more than {MAX_PIXELS:,} pixels"
        raise DataError(what, where=str(path), mend="Export it smaller.")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the header is one thing, the pictures another
    return stream


def packets(container: InputContainer, stream: VideoStream, path: Path) -> Iterator["av.Packet[VideoStream]"]:
    """Read the stream's packets, from where the container stands.

    Raises DataError once they hold twice the bytes of the file: its index then names the same ones over and over. (Once
    would refuse edit lists, whose parts overlap by what a decoder needs before each.)
    """
    left = 2 * path.stat().st_size
    for packet in container.demux(stream):
        left -= max(packet.size, 1) if packet.dts is not None or packet.size else 0
        if left < 0:
            what = "the video claims more than the file holds: its index names the same bytes again and again"
            raise DataError(what, where=str(path), mend="Export it again.")
        yield packet
