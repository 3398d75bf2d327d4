"""Closeness of float32 results that are summed in another order, as other processors and libraries do."""

import numpy as np
import torch


def assert_close(found, expected, relative=1e-5, name=""):
    """All elements agree to `relative` of the largest one, or of 1 where all are smaller.

    A small element is often what large ones leave when they cancel, so it has no more digits than they have.
    """
    found, expected = (
        np.asarray(one.detach() if isinstance(one, torch.Tensor) else one, np.float64) for one in (found, expected)
    )
    largest = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(found, expected, atol=relative * largest, rtol=0.0, err_msg=name)
