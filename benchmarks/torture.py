"""2,000 clips with 5 % bad ones, once undisturbed, once killed twenty times at random; both caches must be the same.

Run with `python -m benchmarks.torture` from the root of the checkout; it takes about ten minutes on two cores, and
ends with exit code 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from mse_pipeline import sample, store
from tests.extraction.hostile_media import holders, write_slow_video

STREAMS = ("acoustic.egemaps", "visual.mtcnn")
CLIP_TIMEOUT = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mse-torture-") as scratch:
        folder = Path(scratch)
        bad = build(folder / "data", arguments.clips)
        report: dict[str, Any] = {"clips": arguments.clips, "bad": dict(Counter(bad.values()))}
        undisturbed = folder / "undisturbed"
        begun = time.monotonic()
        with killing(folder / "data" / "deadly.webm"):
            code, summary = finish(folder, undisturbed, arguments.workers)
        report |= {"seconds": round(time.monotonic() - begun, 1), "exit_code": code, "summary": told(summary)}
        wrong = judge(undisturbed, bad, code, arguments.clips)
        begun = time.monotonic()
        disturbed = folder / "disturbed"
        with killing(folder / "data" / "deadly.webm"):
            report["killed"] = disturb(folder, disturbed, arguments.workers, arguments.kills, report["seconds"])
            code, _ = finish(folder, disturbed, arguments.workers)
        report |= {"seconds_with_kills": round(time.monotonic() - begun, 1), "exit_code_after_kills": code}
        one, other = content(undisturbed), content(disturbed)
        different = sorted(str(key) for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        if different:
            wrong.append(f"{len(different)} entries differ after the kills, as {different[0]}")
        packs = [file_bytes(cache) for cache in (undisturbed, disturbed)]
        report |= {"same_features": not different, "same_pack_files": packs[0] == packs[1], "wrong": wrong}
    print(json.dumps(report, indent=2, ensure_ascii=False))
    sys.exit(1 if wrong else 0)


def build(root: Path, count: int) -> dict[str, str]:
    """Write the corpus; returns the bad clips with what they must be failed for, as ``acoustic visual``."""
    media = root / "media"
    media.mkdir(parents=True)
    goods = small_clips(root / "sample", media)
    kinds: list[tuple[str, Callable[[Path, Path], str]]] = [
        ("truncated", truncated),
        ("flipped", flipped),
        ("empty", empty),
        ("silent", without("audio")),
        ("blind", without("video")),
        ("faceless", faceless),
        ("renamed", renamed),
    ]
    chance = random.Random(0)
    number_of_bad = count // 20
    places = set(chance.sample(range(count), number_of_bad))
    expected: dict[str, str] = {}
    lines = ["id,media,split,text,label"]
    made = 0
    for index in range(count):
        name = f"clip{index:05d}"
        source = goods[index % len(goods)]
        path = media / f"{name}.mp4"
        if index not in places:
            os.link(source, path)
        elif made == 0:
            path = root / "hanging.webm"
            write_slow_video(path)
            expected[name] = "timeout timeout"
        elif made == 1:
            path = root / "deadly.webm"
            write_slow_video(path, 8000)
            expected[name] = "worker_died worker_died"
        else:
            codes = kinds[made % len(kinds)][1](source, path)
            if codes:
                expected[name] = codes
        made += index in places
        split = ("train", "valid", "test")[index % 3]
        lines.append(f"{name},{path.relative_to(root)},{split},hello,{('joy', 'anger')[index % 2]}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return expected


def small_clips(scratch: Path, media: Path) -> list[Path]:
    """A few sample clips cut to one second of 160 x 128, so that 2,000 of them take minutes."""
    sample.build(scratch, clips_per_emotion=(1, 1, 1))
    made = []
    for number, path in enumerate(sorted(scratch.rglob("*.mp4"))[:8]):
        target = media.parent / f"good{number}.mp4"
        with av.open(str(path)) as source, av.open(str(target), "w") as out:
            video = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = 160, 128, "yuv420p"
            audio = out.add_stream("aac", rate=16000, layout="mono")
            resampler = av.AudioResampler("fltp", "mono", 16000)
            shown = 0
            for frame in source.decode():
                if frame.time is not None and frame.time >= 1.0:
                    continue
                if isinstance(frame, av.AudioFrame):
                    for piece in resampler.resample(frame):
                        out.mux(audio.encode(piece))
                elif frame.time is not None and frame.time >= shown / 10:
                    small = frame.reformat(160, 128, "yuv420p")
                    small.pts, small.time_base = shown, Fraction(1, 10)
                    shown += 1
                    out.mux(video.encode(small))
            out.mux(video.encode(None))
            out.mux(audio.encode(None))
        made.append(target)
    shutil.rmtree(scratch)
    return made


def truncated(source: Path, path: Path) -> str:
    data = source.read_bytes()
    path.write_bytes(data[: len(data) // 2])  # its index stands at the end
    return "undecodable undecodable"


def flipped(source: Path, path: Path) -> str:
    data = bytearray(source.read_bytes())
    for place in random.Random(str(path.name)).sample(range(len(data)), len(data) // 50):
        data[place] ^= 0xFF
    data[:64] = bytes(byte ^ 0xFF for byte in data[:64])
    path.write_bytes(data)
    return "undecodable undecodable"


def empty(source: Path, path: Path) -> str:
    path.write_bytes(b"")
    return "undecodable undecodable"


def without(kind: str) -> Callable[[Path, Path], str]:
    def write(source: Path, path: Path) -> str:
        with av.open(str(source)) as file, av.open(str(path), "w") as out:
            kept = next(stream for stream in file.streams if stream.type != kind)
            stream = out.add_stream_from_template(kept)
            for packet in file.demux(kept):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        return "no_audio -" if kind == "audio" else "- no_video"

    return write


def faceless(source: Path, path: Path) -> str:
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 160, 128, "yuv420p"
        audio = out.add_stream("aac", rate=16000, layout="mono")
        for number in range(10):
            grey = av.VideoFrame.from_ndarray(np.full((128, 160, 3), 90, np.uint8), format="rgb24")
            grey.pts = number
            out.mux(video.encode(grey.reformat(format="yuv420p")))
        tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate = 16000
        out.mux(audio.encode(frame))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return "- no_face"


def renamed(source: Path, path: Path) -> str:
    path.write_text("This is a text and no video.\n")
    return "undecodable undecodable"


def command(folder: Path, cache: Path, workers: int) -> list[str]:
    words = [str(folder / "data" / "clips.csv"), "--cache", str(cache), "--workers", str(workers)]
    return [sys.executable, "cli.py", "extract", *words, "--clip-timeout", str(CLIP_TIMEOUT), "--json", "--quiet"] + [
        word for stream in STREAMS for word in ("--streams", stream)
    ]


def finish(folder: Path, cache: Path, workers: int) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [*command(folder, cache, workers), "--max-failures", "4%"], capture_output=True, text=True, check=False
    )
    if not done.stdout.strip():
        raise SystemExit(f"The extraction ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def disturb(folder: Path, cache: Path, workers: int, kills: int, seconds: float) -> int:
    """Begin the extraction again and again, and kill -9 it at random moments that span the whole of it."""
    chance = random.Random(1)
    killed = 0
    for _ in range(kills):
        process = subprocess.Popen(
            command(folder, cache, workers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # A start takes a few seconds, in which there is little to lose; together the runs must not reach the end.
        wait = chance.uniform(0.5, 8.0 + 1.2 * seconds / kills)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.wait()
    return killed


class killing:
    """Within it, whoever opens the deadly file is ended by SIGSEGV, as by a broken codec."""

    def __init__(self, path: Path) -> None:
        self._path, self._ended = path, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            for pid in holders(self._path):
                if pid != os.getpid():
                    os.kill(pid, signal.SIGSEGV)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def judge(cache: Path, bad: dict[str, str], code: int, count: int) -> list[str]:
    """What is not as it must be after the undisturbed run."""
    dataset = store.open(cache)["clips"]
    wrong = [] if code == 3 else [f"exit code {code}, though more than 4 % of the clips have failures"]
    for place, stream in enumerate(STREAMS):
        rows = {row.clip: row for row in dataset.rows(stream)}
        if len(rows) != count:
            wrong.append(f"{stream}: {len(rows)} rows for {count} clips")
        for clip, row in rows.items():
            expected = bad.get(clip, "- -").split()[place]
            found = row.code if row.status == "failed" else "-"
            if found != expected:
                wrong.append(f"{clip} in {stream}: {found} instead of {expected} ({row.message})")
    return wrong


def content(cache: Path) -> dict[tuple[str, str], Any]:
    """All that a cache holds: features by clip and stream, and codes of failures."""
    dataset = store.open(cache)["clips"]
    found: dict[tuple[str, str], Any] = {}
    for stream in dataset:
        for clip, one in dataset[stream].items():
            found[stream, clip] = hash((one.values.tobytes(), one.intervals.tobytes(), one.valid.tobytes()))
        found |= {(stream, row.clip): (row.code, row.stage) for row in dataset.rows(stream) if row.status == "failed"}
    return found


def file_bytes(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*.h5")}


def told(summary: dict[str, Any]) -> dict[str, Any]:
    streams = {name: {"done": one["done"], "failed": one["failed"]} for name, one in summary["streams"].items()}
    return {"asked": summary["asked"], "failed_clips": summary["failed_clips"], "streams": streams}


if __name__ == "__main__":
    main()
