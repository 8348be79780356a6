"""Synchronise: readings correct the live ensemble; what a scheduler shows is adopted."""
