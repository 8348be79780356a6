"""What exists, what can happen and how it behaves: sites, channels, incidents, actions, physics, streams, errors."""
