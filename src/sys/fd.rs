//! Descriptors: flags, duplicates, ranges, limits.
