"""What the user writes: topologies and scenarios, validated, every mistake with its place and its mend."""
