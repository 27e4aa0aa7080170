"""Broker order events on their way into PostgreSQL: decoding, identity, order state, exactly-once ingest.

Import the module that is meant; nothing is exported from here. Decisions, risk and submission do not belong here, and
nothing here knows Dagster.
"""
