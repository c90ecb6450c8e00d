//! Types and rules that more than one module uses, each written once. They use the standard library only, and
//! no system calls.

pub mod accounts;
pub mod address;
pub mod address_file;
pub mod advice;
pub mod choice;
pub mod environment;
pub mod exit_status;
pub mod keeper_mode;
pub mod log_level;
pub mod moment;
pub mod names;
pub mod purpose;
pub mod quote;
pub mod run_settings;
pub mod signal;
pub mod source_spec;
