"""What ``benchmarks/runtime.py`` measures, a module per case; none of them is a command of its own."""
