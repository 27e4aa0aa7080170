"""Market data of the running engine: stream, back-fill, bars in order, what is known of each symbol, and its silence.

The way of a bar::

    alpaca-py's StockDataStream (stream.py, a thread) ──► inbox ──► Assembler (assembler.py, daily.py; pure)
                                                           ▲              │ gaps
                             StockHistoricalDataClient ────┘◄─────────────┘      ──► emit(ClosedBars), feed's thread

:mod:`~torghut_runtime.market_data.feed` holds the parts together: what is heard (``hearing.py``), asked for
(``asking.py``), was handed on (``handed_on.py``) and can be seen (``feed_snapshot.py``). Quotes, trades and halts go to
the board (:mod:`~torghut_runtime.market_data.board`), which the trading thread reads through
:mod:`~torghut_runtime.market_data.live_market`. Nothing here decides anything.
"""
