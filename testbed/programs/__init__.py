"""Programs that a lab runs in its nodes."""
