//! Who is measured, and the programs that they start.

use crate::peers::Peer;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// How the started program is linked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// Statically, with the C library, whose own start is most of the time on a virtual machine.
    WithLibrary,
    /// Without a C library.
    Bare,
}

impl Linking {
    pub const ALL: [Self; 2] = [Self::WithLibrary, Self::Bare];

    pub const fn letter(self) -> &'static str {
        match self {
            Self::WithLibrary => "A",
            Self::Bare => "B",
        }
    }
}

/// How liege or uWSGI start the program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With `binary-path`.
    Direct,
    /// A vassal file that names the program.
    Stage,
    /// The same, and the file names a user.
    StageAsUser,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// `limit.c`.
    Limit,
    Liege {
        binary: PathBuf,
        way: Way,
    },
    Uwsgi {
        binary: PathBuf,
        way: Way,
    },
    Peer {
        binary: PathBuf,
        peer: Peer,
    },
}

#[derive(Clone)]
pub struct Contender {
    pub name: String,
    pub kind: Kind,
    /// The contender that this one is the other binary's version of.
    pub other_of: Option<usize>,
}

impl Contender {
    pub const fn is_limit(&self) -> bool {
        matches!(self.kind, Kind::Limit)
    }

    pub const fn is_liege(&self) -> bool {
        matches!(self.kind, Kind::Liege { .. })
    }

    pub const fn way(&self) -> Option<Way> {
        match self.kind {
            Kind::Liege { way, .. } | Kind::Uwsgi { way, .. } => Some(way),
            Kind::Limit | Kind::Peer { .. } => None,
        }
    }

    pub const fn peer(&self) -> Option<Peer> {
        match self.kind {
            Kind::Peer { peer, .. } => Some(peer),
            _ => None,
        }
    }
}

/// The contenders of a run, the limit first, and the names of the peers that are not installed.
pub fn all(other: &Option<PathBuf>, quick: bool) -> (Vec<Contender>, Vec<&'static str>) {
    let named = |name: &str, kind| Contender { name: name.to_owned(), kind, other_of: None };
    let mut contenders = vec![named("limit", Kind::Limit)];
    let mut ways = vec![(Way::Direct, "direct"), (Way::Stage, "stage")];
    // SAFETY: takes nothing and cannot fail.
    if !quick && unsafe { libc::geteuid() } == 0 {
        ways.push((Way::StageAsUser, "stage as user"));
    }
    for (way, name) in ways {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_liege"));
        contenders.push(named(name, Kind::Liege { binary, way }));
        if let Some(binary) = other {
            let kind = Kind::Liege { binary: binary.clone(), way };
            let other_of = Some(contenders.len() - 1);
            contenders.push(Contender { name: format!("other {name}"), kind, other_of });
        }
    }
    let mut missing = Vec::new();
    if other.is_none() && !quick {
        match installed("uwsgi") {
            Some(binary) => {
                let kind = |way| Kind::Uwsgi { binary: binary.clone(), way };
                contenders.push(named("uWSGI direct", kind(Way::Direct)));
                contenders.push(named("uWSGI stage", kind(Way::Stage)));
            }
            None => missing.push("uWSGI"),
        }
        for peer in Peer::ALL {
            match installed(peer.binary()) {
                Some(binary) => contenders.push(named(peer.name(), Kind::Peer { binary, peer })),
                None => missing.push(peer.name()),
            }
        }
    }
    (contenders, missing)
}

fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.exists())
}

/// What is compiled for a run.
pub struct Programs {
    dir: TempDir,
}

impl Programs {
    pub fn build() -> Self {
        let dir = TempDir::new_in("/tmp").unwrap();
        // A vassal's user executes the program.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let programs = Self { dir };
        compile("limit", &programs.limit(), &[]);
        compile("started", &programs.started(Linking::WithLibrary), &[]);
        let bare = ["-DBARE", "-nostdlib", "-fno-stack-protector"];
        compile("started", &programs.started(Linking::Bare), &bare);
        programs
    }

    pub fn limit(&self) -> PathBuf {
        self.dir.path().join("limit")
    }

    pub fn started(&self, linking: Linking) -> PathBuf {
        self.dir.path().join(linking.letter())
    }
}

fn compile(name: &str, program: &Path, options: &[&str]) {
    let source = format!("{}/benches/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static"]).args(options).arg("-o").arg(program).arg(source);
    assert!(cc.status().unwrap().success(), "cc {name}.c");
}
