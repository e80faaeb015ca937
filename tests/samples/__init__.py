"""Valid objects that several tests start from."""
