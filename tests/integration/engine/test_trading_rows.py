"""Metrics that are read from tables: what is open of one account, and what its last day cost."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from feed_database import execution, ingest, intend
from order_messages import history

from torghut_runtime.api.trading_rows import TradingRows
