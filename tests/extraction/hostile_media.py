"""Media files that harm whoever opens them."""

import os
from pathlib import Path

import av


def write_slow_video(path: Path, frames: int = 9000, size: int = 4000) -> None:
    """A video of about a hundred bytes a frame that takes seconds to minutes to decode: its frames are huge and black.

    Args:
        path: A WebM file.
        frames: About 15 ms of decoding each; a thousand are a second of video.
        size: Width and height in pixels.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="webm") as container:
        # Without references to one frame's exact place, the same packet may follow itself for ever.
        options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "default"}
        stream = container.add_stream("libvpx-vp9", rate=1000, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        black = av.VideoFrame(size, size, "yuv420p")
        for plane in black.planes:
            plane.update(bytes([0 if plane is black.planes[0] else 128]) * plane.buffer_size)
        packets = []
        for number in range(2):
            black.pts = number
            packets += stream.encode(black)
        packets += stream.encode(None)
        first, then = (bytes(packet) for packet in packets)
        for number in range(frames):
            packet = av.Packet(then if number else first)
            packet.stream, packet.time_base = stream, stream.codec_context.time_base
            packet.pts = packet.dts = number
            packet.is_keyframe = number == 0
            container.mux(packet)


def holders(path: Path) -> list[int]:
    """Processes that have a file open."""
    wanted = str(path.resolve())
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) == wanted for link in os.scandir(process / "fd")):
                found.append(int(process.name))
        except OSError:
            continue
    return found
