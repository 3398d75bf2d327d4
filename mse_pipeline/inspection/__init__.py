"""Inspection: what was extracted of one clip, to look at: a picture and a page."""
