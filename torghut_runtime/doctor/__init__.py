"""Why nothing trades: what has to hold, and where it is read."""
