"""The plugin before an API server in memory that holds what the operator's decisions wrote."""
