"""Queue, gathering and execution: the shell around the decisions."""
