"""The orchestration guard: whether a candidate may enter the next stage, and what happens after a failure.

Pure modules decide (``policy``, ``graph``, ``transitions``, ``failures``), ``store`` keeps what was decided, the others
are edges. Import the modules themselves; nothing happens on import.
"""
