"""The simulator's fixtures."""

from simulator_fixtures import simulator, start_simulator

__all__ = ["simulator", "start_simulator"]
