"""Partitions of the assets: one per candidate, by name.

A partition is a candidate, never a parameter point or a fold: those are rows. The names come from the registrations in
``config/candidates``; adding them is the sensor's business.
"""

import dagster as dg

CANDIDATES = dg.DynamicPartitionsDefinition(name="candidate")
