"""Every frame and all of the sound of some clips, decoded by one thread and thrown away."""

import sys

import av

for clip in sys.argv[1:]:
    with av.open(clip) as container:
        streams = [stream for stream in container.streams if stream.type in {"audio", "video"}]
        for stream in streams:
            stream.codec_context.thread_count = 1
        for packet in container.demux(*streams):
            packet.decode()
