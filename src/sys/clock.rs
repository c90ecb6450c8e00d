//! Clocks: monotonic for deadlines, wall time for logs.
