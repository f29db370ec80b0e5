"""Programs that a lab runs inside its nodes."""
