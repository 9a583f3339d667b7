"""Fuzzing: arbitrary bytes into every parser, with coverage-guided search (`python -m fuzz`)."""
