"""Models that the adapter is compared with, one a file: what each reads, how it answers, and the paper that it is of.

They are declared as entry points of the group ``mse_pipeline.models`` (``pyproject.toml``), as those of other packages
are. Batches, loop, seeds, early stopping, resuming, metrics and predictions are the trainer's, the same for all.
"""
