//! What monitors have in common: sightings of vassal files.

pub mod dir;
