"""What is compiled of the fold: ``alerts._kernels`` where there was a C compiler at installation, else None.

Whoever calls it does the same in numpy where it is None, slower, and with the same bytes (tests/test_kernels.py).
"""

from __future__ import annotations

from types import ModuleType

compiled: ModuleType | None
try:
    from alerts import _kernels as compiled
except ImportError:
    compiled = None
