"""A broker that speaks Alpaca's protocol, can be had without an account, misbehaves on command and repeats a day.

``engine`` is the broker itself: a pure state machine over a tape of market events, a simulated clock and requests. The
``server`` package puts Alpaca's REST interface and its two websockets in front of it. Import the modules directly.
"""
