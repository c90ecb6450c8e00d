//! Words that more than one module speaks, each said once. Nothing but the standard library is used here,
//! and nothing is asked of the system.

pub mod accounts;
pub mod address;
pub mod address_file;
pub mod advice;
pub mod environment;
pub mod exit_status;
pub mod moment;
pub mod names;
pub mod purpose;
pub mod quote;
pub mod run_settings;
pub mod signal;
pub mod source_spec;
