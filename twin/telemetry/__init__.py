"""Telemetry: what readings mean, who may come in, where they are kept."""
