"""`python -m sgdmodels` is the command line."""

from .cli import app

app()
