//! Handles of processes: open, signal, wait, ask.
