"""Brokers that are started on this machine, for development and tests, behind one launcher."""
