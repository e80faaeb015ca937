"""relora-fetch: brings a serving set to the disk of a serving pod and proves that the engine has loaded it."""
