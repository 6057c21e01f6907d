"""Where things are that tests look at."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
REAL_DATA = Path(os.environ.get("MTLBENCH_TEST_DATA", ROOT / ".." / "shared" / "data"))  # may not be there
