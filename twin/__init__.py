"""The synchronised replica: state, agenda, processes, engine, ensemble, emulator and telemetry stores."""
