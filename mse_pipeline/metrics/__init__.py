"""Every number that the field reports, with the reference implementation's semantics, one function a family.

The keys are those of the MSE-Adapter and MMSA code (``Has0_acc_2``, ``Mult_acc_7``, ``R_squre``, ``weight_F1``), so
that a row of ours can stand beside one of theirs. All values but the errors (`errors`) are fractions, not percentages.
"""

from mse_pipeline.metrics.calibration import class_calibration, distribution_distances, number_calibration
from mse_pipeline.metrics.evaluation import (
    ERRORS,
    KIND,
    ClassScores,
    Family,
    alarms,
    check,
    class_scores,
    errors,
    evaluate,
    kind,
    of_classes,
    primary,
)

__all__ = [
    "ERRORS",
    "KIND",
    "ClassScores",
    "Family",
    "alarms",
    "check",
    "class_calibration",
    "class_scores",
    "distribution_distances",
    "errors",
    "evaluate",
    "kind",
    "number_calibration",
    "of_classes",
    "primary",
]
