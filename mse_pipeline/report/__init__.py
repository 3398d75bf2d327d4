"""Runs -> tables: mean and deviation over seeds, beside the published numbers.

`build` reads run folders into a `Report`; `to_terminal`, `to_markdown` and `to_json` write it.
"""

from mse_pipeline.report.build import Report, build
from mse_pipeline.report.jsonform import to_json
from mse_pipeline.report.markdown import to_markdown
from mse_pipeline.report.terminal import to_terminal

__all__ = ["Report", "build", "to_json", "to_markdown", "to_terminal"]
