"""Orders: what happens to them after a decision, and what they cost."""
