"""What a farm is: entities, lifecycles, facts, and `apply`. Standard library only, synchronous, no I/O."""
