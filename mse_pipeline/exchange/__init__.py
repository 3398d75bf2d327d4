"""Other people's feature files in and out."""
