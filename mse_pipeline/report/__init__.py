"""Runs -> tables: mean and deviation over seeds, beside the published numbers.

`build` reads run folders into a `Report`; `to_terminal`, `to_markdown` and `to_json` write it.
"""

from mse_pipeline.report.formats.markdown import to_markdown
from mse_pipeline.report.formats.plain import to_json
from mse_pipeline.report.formats.terminal import to_terminal
from mse_pipeline.report.table import Report, build

__all__ = ["Report", "build", "to_json", "to_markdown", "to_terminal"]
