"""Names for what kernels take. A `Record` is one row of a structured array, written through."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Record: TypeAlias = Any
Rows: TypeAlias = NDArray[np.void]
Words: TypeAlias = NDArray[np.int64]
