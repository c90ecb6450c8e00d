//! The statistics: what they show, how it is read off the state, and how it is written.

pub mod json;
pub mod report;
pub mod view;
