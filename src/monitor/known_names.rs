//! What is known of the names in a directory, and the changes that follow when that becomes different.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::change::{ChangeKind, Changes, VassalFile};

/// One name: a vassal, or something refused, or a vassal with a problem.
#[derive(Default)]
struct KnownName {
    file: Option<VassalFile>,
    problem: Option<Box<str>>,
}

/// All names that are vassals or would be.
#[derive(Default)]
pub(super) struct KnownNames(BTreeMap<Box<OsStr>, Box<KnownName>>);

impl KnownNames {
    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = OsString> {
        self.0.keys().map(|name| name.to_os_string())
    }

    /// The vassals.
    pub(super) fn files(&self) -> impl Iterator<Item = (&OsStr, &VassalFile)> {
        self.0.iter().filter_map(|(name, known)| Some((&**name, known.file.as_ref()?)))
    }

    /// The names that are refused, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&OsStr, &str)> {
        let refused = self.0.iter().filter(|(_, known)| known.file.is_none());
        refused.filter_map(|(name, known)| Some((&**name, known.problem.as_deref()?)))
    }

    /// The vassal of this name.
    pub(super) fn file(&self, name: &OsStr) -> Option<&VassalFile> {
        self.0.get(name)?.file.as_ref()
    }

    /// Forgets everything; gives the names.
    pub(super) fn lose_all(&mut self, out: &mut Changes) -> Vec<Box<OsStr>> {
        let all = std::mem::take(&mut self.0).into_iter();
        let lost = all.map(|(name, known)| {
            if known.file.is_some() {
                out.push(&name, ChangeKind::Lost);
            }
            name
        });
        lost.collect()
    }

    /// The file is there: says what is new about it.
    pub(super) fn record_file(&mut self, name: &OsStr, file: VassalFile, out: &mut Changes) {
        let known = self.0.entry(name.into()).or_default();
        known.problem = None;
        let Some(old) = known.file.replace(file.clone()) else {
            return out.push(name, ChangeKind::Found(file));
        };
        if old.version != file.version || old.on_demand != file.on_demand {
            out.push(name, ChangeKind::Changed(file));
        } else if (old.uid, old.gid) != (file.uid, file.gid) {
            out.push(name, ChangeKind::OwnerChanged(file));
        }
    }

    /// The file is not there, or it is something else now.
    pub(super) fn record_lost(&mut self, name: &OsStr, problem: Option<String>, out: &mut Changes) {
        if self.file(name).is_some() {
            out.push(name, ChangeKind::Lost);
        }
        match problem {
            None => drop(self.0.remove(name)),
            Some(why) => {
                self.report_problem(name, why, out);
                self.0.entry(name.into()).or_default().file = None;
            }
        }
    }

    /// Says once what is wrong with a name.
    pub(super) fn report_problem(&mut self, name: &OsStr, why: String, out: &mut Changes) {
        let known = self.0.entry(name.into()).or_default();
        if known.problem.as_deref() != Some(&why) {
            out.warn_of(name, why.clone());
            known.problem = Some(why.into());
        }
    }
}
