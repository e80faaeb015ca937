"""Job manifests: pure functions from the contract to what is created."""
