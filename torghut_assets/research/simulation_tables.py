"""Tables of the compiled simulation: what goes in, what comes out, and which column holds what.

Only layout belongs here. The account is in :mod:`torghut_assets.research.simulation_account`, what happens at opens and
closes in :mod:`torghut_assets.research.simulation_fills` and :mod:`torghut_assets.research.simulation_decisions`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torghut_runtime.compiled import Matrix, Vector, integer_matrix, matrix, record_type, vector

IntegerMatrix = NDArray[np.int64]
Step = Callable[[Vector, Vector, Vector, Vector, Vector], None]

# columns of Market.rows and Market.ids
OPEN, CLOSE, VOLUME, HALF_SPREAD, SECONDS_TO_CLOSE = range(5)
OPEN_AT, CLOSE_AT, SYMBOL, TIMEFRAME, SESSION, BAR_NO = range(6)
# columns of Rules.limits and Rules.layout, one row per strategy
NOTIONAL_CAP, POSITION_PCT, FIXED_QTY, PYRAMID = range(4)
S_TIMEFRAME, FEATURE_AT, FEATURES_N, REQUIRED_N, PARAM_AT, PARAMS_N, STATE_AT, STATE_N, WARMUP = range(9)
# entries of Rules.settings, and of the window
GROSS_LIMIT, MAX_PARTICIPATION, LATENCY, MAX_ORDER_BARS, ALLOW_SHORTS, FRACTIONAL, CLOSE_OUT, OPENING_CASH = range(8)
START_ROW, END_ROW = range(2)
# columns of the results
D_STRATEGY, D_ROW, D_SIGNAL, D_TARGET, D_PRICE, D_REASON = range(6)
F_ORDER, F_STRATEGY, F_SYMBOL, F_DECIDED, F_AT, F_SIDE, F_QTY, F_PRICE = range(8)
F_HALF_SPREAD, F_IMPACT, F_COMMISSION, F_FEES, F_ASSUMED = range(8, 13)
E_ROW, E_EQUITY, E_CASH, E_GROSS, E_NET = range(5)

# reasons of decisions; those below 10 are the codes of torghut_runtime.strategies.decide
R_HOLD, R_ENTRY, R_EXIT, R_TARGET = range(4)
R_NO_ROOM, R_TOO_SMALL, R_NO_SHORTS, R_CONFLICT = range(10, 14)
COST_ENTRIES = 5


class Market(NamedTuple):
    """Bars in order of their close: numbers, identities, and all strategies' features side by side."""

    rows: Matrix
    ids: IntegerMatrix
    features: Matrix


class Rules(NamedTuple):
    """What the strategies are and what they may do; parameters of all strategies stand one after the other."""

    limits: Matrix
    layout: IntegerMatrix
    universe: IntegerMatrix
    parameters: Vector
    exits: Matrix
    costs: Vector
    settings: Vector


MARKET = record_type(Market, matrix, integer_matrix, matrix)
RULES = record_type(Rules, matrix, integer_matrix, integer_matrix, vector, matrix, vector, vector)
