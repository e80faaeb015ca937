"""Content-addressed, write-once storage of adapters, deltas and reports."""
