"""What was traded: order events from the feed, executions, their costs, and whether the tables agree."""
