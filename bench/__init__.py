"""Benches: each compares with a named reference in the same run and prints ratios with their spread."""
