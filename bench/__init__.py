"""Measurements of farmd; docs/BENCHMARKS.md says what each is for and keeps the results."""
