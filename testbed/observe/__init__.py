"""Looking at a living lab, without changing it: who reaches whom, and what is seen on the fabric."""
