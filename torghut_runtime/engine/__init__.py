"""The engine: bars in, orders out."""
