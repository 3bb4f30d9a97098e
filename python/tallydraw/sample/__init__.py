"""Draw: from one distribution, from one a row, rows of features, paths of a chain, counts."""

from __future__ import annotations

__all__: list[str] = []
