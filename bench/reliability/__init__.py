"""What farmd promises of itself, measured: `python -m bench.reliability`, and the long campaigns."""
