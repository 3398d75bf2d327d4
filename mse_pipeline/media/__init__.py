"""Media: probe and decode, one pass a file, sound and frames on one clock."""
