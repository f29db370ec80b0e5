"""Plans: the exact kernel objects that every namespace is to hold under one design, as pure data."""
