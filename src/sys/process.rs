//! fork, exec, sessions, groups, children, limits.
