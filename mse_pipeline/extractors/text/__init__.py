"""Text in, features out."""
