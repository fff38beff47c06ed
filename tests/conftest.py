"""Shared set-up: no display."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
