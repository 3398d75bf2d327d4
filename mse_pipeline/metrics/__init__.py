"""Every number that the field reports, with the reference implementation's semantics, one function a family.

The keys are those of the MSE-Adapter and MMSA code (``Has0_acc_2``, ``Mult_acc_7``, ``R_squre``, ``weight_F1``), so
that a row of ours can stand beside one of theirs. All values but the errors (`ERRORS`) are fractions, not percentages.
"""

from mse_pipeline.metrics.evaluation import ERRORS, alarms, evaluate, kind, primary
from mse_pipeline.metrics.families import ClassScores, class_scores

__all__ = ["ERRORS", "ClassScores", "alarms", "class_scores", "evaluate", "kind", "primary"]
