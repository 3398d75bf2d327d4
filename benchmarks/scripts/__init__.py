"""What an experienced user would write in place of `mse extract`; nothing here uses mse_pipeline."""
