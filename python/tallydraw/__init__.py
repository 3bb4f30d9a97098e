"""Count, sample and score discrete data, exactly and close to the speed of memory."""

from __future__ import annotations

from tallydraw import backend
from tallydraw.tables import Tables

__all__ = ["Tables", "backend"]

__version__ = "0.1.0"
