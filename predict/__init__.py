"""From windows of telemetry to calibrated risk."""
