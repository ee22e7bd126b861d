"""Names for what kernels take. A `Record` is one row of a structured array, written through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Record: TypeAlias = Any
Rows: TypeAlias = NDArray[np.void]
Words: TypeAlias = NDArray[np.int64]

if TYPE_CHECKING:

    def wide(value: Any) -> int:
        """A narrow field as int64: narrow integers wrap differently with the JIT off."""

    def at(index: Any) -> Any:
        """An index that is not negative, so that none is counted from an array's end."""

else:
    from numpy import int64 as wide
    from numpy import uint64 as at

__all__ = ["Record", "Rows", "Words", "at", "wide"]
