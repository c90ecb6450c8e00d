//! prctl(2): parent death, subreaper, no new privileges.
