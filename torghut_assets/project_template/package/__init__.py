"""Strategies of this project."""
