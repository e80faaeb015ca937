"""The command `kubectl relora`: releases, bindings and servers for people, from what their statuses record."""
