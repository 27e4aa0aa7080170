"""Alpaca's REST interface and websockets in front of the simulated broker; HTTP stays in here."""
