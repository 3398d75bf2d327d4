"""Acoustic extractors: mono 16 kHz sound in, low-level descriptors out."""
