"""A Kubernetes cluster on this machine: a control plane for integration tests, a node for e2e tests and the demo."""
