//! The pid file of the emperor.

use std::path::{Path, PathBuf};

use crate::config::emperor::EmperorConfig;
use crate::types::advice;

use super::process_context::absolute;
use super::setup_error::{SetupError, at, cannot};

/// The pid file, removed when this is dropped, unless a successor has written another one since.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file under another name and renames it, so that no reader sees half of it.
    pub fn write(config: &EmperorConfig) -> Result<Option<Self>, SetupError> {
        let Some(setting) = &config.pidfile else { return Ok(None) };
        let path = absolute(Path::new(&setting.value));
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let text = format!("{}\n", std::process::id());
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written.map_err(|error| {
            cannot(format!("write the pid file {}", at(setting)))(error)
                .advised(|kind| advice::write(kind, setting.advised(&path)))
        })?;
        Ok(Some(Self(path)))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        if std::fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == own) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
