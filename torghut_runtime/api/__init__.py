"""The HTTP surface of the runtime."""
