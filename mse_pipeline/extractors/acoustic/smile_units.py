"""Units of openSMILE's values, told from their names."""

from __future__ import annotations

import re

_LOW_LEVEL = (
    # Of GeMAPS and eGeMAPS: Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS)".
    (r"F0semitoneFrom27\.5Hz", "semitones above 27.5 Hz"),
    (r"(alphaRatio|hammarbergIndex)(U?V)?", "dB"),
    (r"slope(U?V)?\d+-\d+", "dB/Hz"),
    (r"shimmerLocaldB|HNRdBACF|logRelF0-H1-(H2|A3)|F[123]amplitudeLogRelF0", "dB"),
    (r"F[123](frequency|bandwidth)", "Hz"),
    # Of the challenges' sets: Eyben 2016, "Real-time Speech and Music Classification by Large Audio Feature Space
    # Extraction".
    (r"F0|F0(final|env|finEnv)", "Hz"),
    (r"logHNR", "dB"),
    (r"pcm_fftMag_spectral(RollOff[\d.]+|Centroid)", "Hz"),
    (r"pcm_fftMag_spectralVariance", "Hz²"),
    (r"lspFreq", "rad"),
)
_WHOLE = {
    "loudnessPeaksPerSec": "1/s",
    "VoicedSegmentsPerSec": "1/s",
    "MeanVoicedSegmentLengthSec": "s",
    "StddevVoicedSegmentLengthSec": "s",
    "MeanUnvoicedSegmentLength": "s",
    "StddevUnvoicedSegmentLength": "s",
    "equivalentSoundLevel_dBp": "dB",
}
_DESCRIPTOR = re.compile(
    r"(?P<base>.+?)_(?P<smoothing>sma(?:3nz|3)?)(?P<delta>_de)?(?:\[\d+\])?(?:_(?P<functional>.+))?"
)
# Functionals whose value is one that the descriptor might have, or a distance of two such values.
_KEEPING = re.compile(
    r"amean|posamean|qmean|rqmean|max|min|range|stddev|quartile\d|iqr\d-\d|percentile[\d.]+|pctlrange\d-\d"
    r"|peakMean(Abs)?|peakRangeAbs"
)
_SLOPE = re.compile(r"(mean|stddev)(Rising|Falling)Slope")


def unit_of(name: str) -> str:
    """The unit of one of openSMILE's values; empty where it has none, or none that is documented.

    Args:
        name: As openSMILE gives it.

    Examples:
        >>> unit_of("F0semitoneFrom27.5Hz_sma3nz"), unit_of("F1frequency_sma3nz_amean"), unit_of("jitterLocal_sma3nz")
        ('semitones above 27.5 Hz', 'Hz', '')
        >>> unit_of("F1frequency_sma3nz_stddevNorm"), unit_of("F0semitoneFrom27.5Hz_sma3nz_meanRisingSlope")
        ('', 'semitones/s')
        >>> unit_of("F0final_sma_de"), unit_of("F0final_sma_quartile1"), unit_of("VoicedSegmentsPerSec")
        ('Hz', 'Hz', '1/s')
    """
    if name in _WHOLE:
        return _WHOLE[name]
    parts = _DESCRIPTOR.fullmatch(name)
    if parts is None:
        return ""
    unit = next((unit for pattern, unit in _LOW_LEVEL if re.fullmatch(pattern, parts["base"])), "")
    # The change of a pitch, its spread and its differences are semitones alone, without the 27.5 Hz they begin at.
    plain = "semitones" if unit.startswith("semitones") else unit
    functional = parts["functional"]
    if functional is None:
        return plain if parts["delta"] else unit
    if _SLOPE.fullmatch(functional) and parts["smoothing"] != "sma":
        return f"{plain}/s" if plain else "1/s"
    if not _KEEPING.fullmatch(functional):
        return ""
    return plain if re.match(r"range|iqr|pctlrange|stddev", functional) else unit
