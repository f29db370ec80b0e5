"""Labs: a plan brought to life in Mininet hosts and pod namespaces, sealed in a capsule."""
