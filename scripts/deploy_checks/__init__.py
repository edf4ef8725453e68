"""Checks of the examples in deploy/, a file for each kind."""
