"""Sweeps: the same question over step sizes, batch sizes, dynamics and seeds, in a store that survives anything.

`Grid` says what to run, `run_sweep` runs what a store does not hold yet, `open_sweep` reads it as one Dataset.
"""

from .cell import Cell
from .document import grid_of
from .grid import Grid
from .open_sweep import open_sweep, run_of
from .run_sweep import run_sweep
from .store import Store

__all__ = ["Cell", "Grid", "Store", "grid_of", "open_sweep", "run_of", "run_sweep"]
