"""The broker simulator's fixture."""

from simulator_fixtures import start_simulator

__all__ = ["start_simulator"]
