"""From a checkout, `python cli.py …` is `mse …`."""

from mse_pipeline.cli import main

if __name__ == "__main__":
    main()
