"""How fast sqla_oban is, as ratios to bare SQL and to its peers within one run: `python -m benchmarks --help`."""
