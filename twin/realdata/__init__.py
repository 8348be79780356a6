"""Real recordings of real sites: read, fitted on one window, judged on another."""
