"""The custom resources of the group relora.dev."""
