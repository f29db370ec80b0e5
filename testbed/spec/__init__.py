"""User files: topologies, scenarios and designs, validated; every error has its location and a remedy."""
