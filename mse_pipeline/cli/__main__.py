"""`python -m mse_pipeline.cli …` is `mse …`, for launchers that start modules."""

from mse_pipeline.cli import main

if __name__ == "__main__":
    main()
