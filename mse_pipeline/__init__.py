"""Raw clips of emotion and sentiment corpora in; cached features, a trained adapter and a table out.

Nothing heavy is imported here: import the subpackage that you need, for example
``from mse_pipeline import store``.
"""

__version__ = "0.1.0"
