//! The bgpd daemon: the edge where I/O happens.
