"""Visual extractors: the face that was followed in, one row a sampled frame out."""
