//! Descriptors over unix sockets (SCM_RIGHTS).
