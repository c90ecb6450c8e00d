//! Masks, dispositions, signalfd, sending.
