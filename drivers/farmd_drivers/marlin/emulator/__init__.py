"""Emulated firmware, strict as the real one: for tests, benchmarks and the demo. No driver imports it."""

from farmd_drivers.marlin.emulator.machine import Marlin as Marlin
