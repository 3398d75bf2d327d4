"""Formats: which of FFmpeg's demuxers may read a file, and why others may not."""

from __future__ import annotations

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
"""FFmpeg's names of the containers that are read: all that it has, but those of `NOT_READ`. They are written out so
that a demuxer which nobody has looked at is not read; FFmpeg builds without some of them read the others."""

_REASONS = {
    "a playlist or script, and those are not followed: a file of a dataset must not make FFmpeg open other files": """
        concat dash hls imf webm_dash_manifest sdp rtsp rtp sap lavfi avisynth vapoursynth sbg ffmetadata mlv vobsub
    """,
    "a device": """
        alsa fbdev kmsgrab oss video4linux2 v4l2 x11grab dv1394 jack openal pulse sndio libcdio libdc1394 iec61883
        decklink avfoundation dshow gdigrab vfwcap android_camera bktr xcbgrab
    """,
    "a still picture, or several, without sound and without times; make a video of them": """
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
    "raw samples or pixels, which do not tell their rate, channels or size; write them as .wav or .avi": """
        alaw mulaw f32be f32le f64be f64le s16be s16le s24be s24le s32be s32le s8 u16be u16le u24be u24le u32be u32le
        u8 vidc rawvideo bitpacked v210 v210x g726 g726le codec2raw aptx aptx_hd data
    """,
}
NOT_READ = {name: why for why, names in _REASONS.items() for name in names.split()}
"""FFmpeg's names of the demuxers that are refused, and what a file is that needs one."""
