"""Features of what is said, and of when."""
