//! What should happen. Pure: events and the time go in, effects come out; no I/O, no clock, no log.
