//! Users and groups: look-up and change.
