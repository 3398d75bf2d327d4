"""Checking: what is known of each dataset, what a folder of it really holds, and its clips as a table."""
