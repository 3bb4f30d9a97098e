"""``python -m tallydraw`` is the command ``tallydraw``."""

from __future__ import annotations

import sys

from tallydraw.cli import main

if __name__ == "__main__":
    sys.exit(main())
