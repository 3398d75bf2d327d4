"""Open media files: which of FFmpeg's formats are read and which are refused, and the streams of an open container.

Only local files are opened, and only containers of sound or video. Errors say what is wrong with a file.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mse_pipeline.errors import ClipError
from mse_pipeline.media.effort import FULL, Decoding
from mse_pipeline.media.frames import MAX_PIXELS

_NAMES = """
    3dostr 3g2 3gp 4xm aa aac aax ac3 ac4 ace acm act adp ads adx aea afc aiff aix alp amr amrnb amrwb anm apac
    apc ape apm apng apv argo_asf argo_brp argo_cvg asf asf_o ast au av1 avi avr avs avs2 avs3 bethsoftvid bfi
    bfstm bink binka bit bmv boa bonk brstm c93 caf cavsvideo cdg cdxl cine codec2 daud dcstr derf dfa dfpwm dhav
    dirac dnxhd dsf dsicin dss dts dtshd dv dxa ea eac3 epaf evc film_cpk filmstrip flac flic flv frm fsb fwse
    g722 g723_1 g728 g729 gdv genh gif gsm gxf h261 h263 h264 hca hcom hevc hnm hxvs iamf idcin iff ifv ilbc
    ingenient ipmovie ipu ircam iss iv8 ivf ivr jpegxl_anim jv kux kvag laf lc3 live_flv lmlm4 loas luodat lvf lxf
    m4a m4v matroska mca mgsts mj2 mjpeg mjpeg_2000 mlp mm mmf mods moflex mov mp3 mp4 mpc mpc8 mpeg mpegts
    mpegtsraw mpegvideo mpjpeg msf msnwctcp mtaf mtv musx mv mvi mxf mxg nc nistsphere nsp nsv nut nuv obu ogg oma
    osq paf pdv pmp pp_bnk psxstr pva pvf qcp qoa r3d redspark rka rl2 rm roq rpl rsd rso s337m sbc scd sdns sdr2
    sds sdx ser sga shn siff simbiosis_imx sln smjpeg smk smush sol sox spdif svag svs swf tak thp tiertexseq tmv
    truehd tta ty usm vag vc1 vc1test vividas vivo vmd voc vpk vqf vvc w64 wady wav wavarc wc3movie webm wsaud wsd
    wsvqa wtv wv wve xa xmd xmv xvag xwma yop yuv4mpegpipe
"""
READ = frozenset(_NAMES.split())
"""FFmpeg's names of the containers that are read: all except those of `NOT_READ`. The list is written out, so that a
demuxer that nobody has checked is not used. A build of FFmpeg that lacks some of them reads the others."""

_REASONS = {
    "a playlist or script, and those are not followed: a file of a dataset must not make FFmpeg open other files": """
        concat dash hls imf webm_dash_manifest sdp rtsp rtp sap lavfi avisynth vapoursynth sbg ffmetadata mlv vobsub
    """,
    "a device": """
        alsa fbdev kmsgrab oss video4linux2 v4l2 x11grab dv1394 jack openal pulse sndio libcdio libdc1394 iec61883
        decklink avfoundation dshow gdigrab vfwcap android_camera bktr xcbgrab
    """,
    "a still picture or several, without sound and without times; make a video of them": """
        image2 image2pipe ico fits alias_pix brender_pix msp ea_cdata txd bmp_pipe cri_pipe dds_pipe dpx_pipe exr_pipe
        gem_pipe gif_pipe hdr_pipe j2k_pipe jpeg_pipe jpegls_pipe jpegxl_pipe jpegxs_pipe pam_pipe pbm_pipe pcx_pipe
        pfm_pipe pgm_pipe pgmyuv_pipe pgx_pipe phm_pipe photocd_pipe pictor_pipe png_pipe ppm_pipe psd_pipe qdraw_pipe
        qoi_pipe sgi_pipe sunrast_pipe svg_pipe tiff_pipe vbn_pipe webp_pipe xbm_pipe xpm_pipe xwd_pipe libjxl
    """,
    "text, not media": """
        tty bin xbin adf idf
    """,
    "subtitles, which have neither sound nor picture": """
        aqtitle ass dvbsub dvbtxt jacosub lrc mcc microdvd mpl2 mpsub pjs realtext sami scc srt stl subviewer
        subviewer1 sup tedcaptions vplayer webvtt rcwt
    """,
    "raw samples or pixels, without rate, channels or size; convert them to .wav or .avi": """
        alaw mulaw f32be f32le f64be f64le s16be s16le s24be s24le s32be s32le s8 u16be u16le u24be u24le u32be u32le
        u8 vidc rawvideo bitpacked v210 v210x g726 g726le codec2raw aptx aptx_hd data
    """,
}
NOT_READ = {name: why for why, names in _REASONS.items() for name in names.split()}
"""FFmpeg's names of the demuxers that are refused, and what a file of that format is."""


PROTOCOLS = "file"
"""FFmpeg's protocols that a container may use; no network."""


_PLAIN_REASONS = (
    (av.error.ArgumentError, "its content is not what its header announces"),
    (av.error.PatchWelcomeError, "it is a variant of its format that FFmpeg does not read"),
)
"""Our words for errors that FFmpeg calls "Invalid argument" or "patches welcome"."""


def why_refused(error: BaseException) -> str:
    """The reason of an error: FFmpeg's text without the path that PyAV appends, or our own where that says nothing.

    Examples:
        >>> why_refused(ValueError("bad"))
        'bad'
    """
    for kind, words in _PLAIN_REASONS:
        if isinstance(error, kind):
            return words
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


def open_container(path: str | os.PathLike[str]) -> Any:
    """Open a media file for reading.

    Returns:
        PyAV's input container, to be closed by the caller (it is a context manager).

    Raises:
        ClipError: `missing_media` where there is no such file, `undecodable` where FFmpeg cannot open it.
    """
    file = Path(path)
    if not file.exists():
        raise ClipError("missing_media", f"{file} does not exist.")
    if not file.is_file():
        raise ClipError("missing_media", f"{file} is not a file.")
    if file.stat().st_size == 0:
        raise ClipError("undecodable", f"{file} is empty (0 bytes); fetch it again.")
    try:
        return _open(file)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ClipError("undecodable", f"{file} cannot be opened as media: {_explain(file, error)}") from error


def _open(file: Path) -> Any:
    # With the protocol written out, FFmpeg cannot take a part of the file's name for another protocol.
    return av.open(
        f"file:{file.absolute()}",
        metadata_errors="replace",
        container_options={"format_whitelist": ",".join(sorted(READ)), "protocol_whitelist": PROTOCOLS},
    )


def _explain(file: Path, error: BaseException) -> str:
    """What the file seems to be, and FFmpeg's reason if there is one, as a sentence."""
    refused = _refused_format(file) if isinstance(error, av.error.ArgumentError) else None
    if refused is not None:
        why = NOT_READ.get(refused, "in a format that mse does not read")
        return f"it is {why} (FFmpeg's format {refused})."
    plain = isinstance(error, tuple(kind for kind, _ in _PLAIN_REASONS))
    words = f"{why_refused(error)}." if plain else f"FFmpeg says {why_refused(error)!r}."
    with file.open("rb") as stream:
        head = stream.read(4096)
    if head.lstrip().startswith((b"#EXTM3U", b"ffconcat", b"<?xml", b"v=0")):
        return f"{words} It is a playlist or script, and those are not followed."
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f\x1b" for byte in head):
        return f"{words} Its content is text, not media."
    if isinstance(error, av.error.InvalidDataError):
        return f"{words} It may be cut off or damaged, or in a format that FFmpeg here does not know; fetch it again."
    return words


def _refused_format(file: Path) -> str | None:
    """FFmpeg's name of the refused format of a file. Only FFmpeg's log has this name."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as lines:
            _open(file).close()
    except (av.FFmpegError, OSError, ValueError):
        return next((name for _, name, line in lines if "not on whitelist" in line), None)
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    return None


def find_stream(container: Any, kind: str) -> Any | None:
    """The stream of a kind that a player would choose; None if there is none.

    Args:
        container: PyAV's input container.
        kind: "audio" or "video". A still attached as cover art is no video.
    """
    streams = [s for s in container.streams if s.type == kind]
    if kind == "video":
        streams = [s for s in streams if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        return None
    best = container.streams.best(kind)
    if best is not None and any(best.index == s.index for s in streams):
        return best
    return streams[0]


def prepare(stream: Any, path: str | os.PathLike[str], decoding: Decoding = FULL) -> Any:
    """Make a stream ready to be decoded by one thread, with the size of its frames bounded.

    Clips are decoded side by side, so a decoder's own threads would only fight over the cores.

    Args:
        stream: PyAV's stream.
        path: The file, for messages.
        decoding: How much of a video is decoded.

    Returns:
        The stream's codec context.

    Raises:
        ClipError: `undecodable` where FFmpeg has no decoder for it or its frames are too large.
    """
    codec = stream.codec_context
    if codec is None:
        raise ClipError("undecodable", f"The {stream.type} of {path} is in a codec that FFmpeg here cannot decode.")
    codec.thread_count = 1
    if stream.type == "video":
        if codec.width * codec.height > MAX_PIXELS:
            raise ClipError(
                "undecodable",
                f"The video of {path} has frames of {codec.width} x {codec.height} pixels; "
                f"at most {MAX_PIXELS} pixels are decoded.",
            )
        # The bound also holds where the size changes on the way.
        codec.options = {"max_pixels": str(MAX_PIXELS), **decoding.options(codec)}
    return codec


def is_bare(container: Any) -> bool:
    """Whether a file is a stream without a container. It has no times: frames are counted from the first one."""
    return bool(container.format.flags & av.format.Flags.no_timestamps.value)


def container_start(container: Any) -> Fraction:
    """The file's time zero on its streams' clock, in exact seconds.

    MPEG program streams begin at any time, often 0.5 s; streams that begin later than the container are late.
    """
    starts = [Fraction(s.start_time * s.time_base) for s in container.streams if s.start_time is not None]
    if container.start_time is None:
        return min(starts, default=Fraction(0))
    start = Fraction(container.start_time, av.time_base)
    # The container rounds its start to a microsecond; its earliest stream has the exact value.
    return next((exact for exact in starts if abs(exact - start) <= Fraction(1, av.time_base)), start)
