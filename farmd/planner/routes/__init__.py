"""Finishing operations after builds, and free-standing job shops: data, rules, and how they are planned."""
