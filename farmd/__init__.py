"""farmd plans and runs a shop of additive machines."""

__version__ = "0.1.0"
