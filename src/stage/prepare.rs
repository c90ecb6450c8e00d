//! Everything that can be wrong before anything is done: the settings are checked, names are looked up.

use crate::config::{self, Faults, Resolved, VassalConfig};
use crate::identity::{self, NewIdentity};
use crate::opts::Refusal;
use crate::spawn::step::Step;
use crate::sys::creds::{self, Accounts, Identity};
use crate::sys::socket::SocketOwner;

use super::action::StartedBy;
use super::failure::Failure;
use super::input::StageInput;
use super::program::Program;
use super::{declared_files, files, settings};

/// What was read and looked up; nothing has been changed yet.
pub(super) struct Prepared {
    pub config: VassalConfig,
    pub program: Program,
    /// Who the program is to be.
    pub identity: NewIdentity,
    /// Who its unix sockets are to belong to.
    pub owner: SocketOwner,
    pub warnings: Vec<String>,
}

/// Checks and looks up.
///
/// # Errors
/// All faults of the file that are found in one pass.
pub(super) fn prepare(
    resolved: &Resolved,
    input: &StageInput,
    started_by: StartedBy,
) -> Result<Prepared, Failure> {
    let config = config::vassal::check(resolved).map_err(|faults| Failure::of_faults(&faults))?;
    let mut warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let Some(vassal_program) = &config.program else {
        return Err(Failure::new(Step::Read, "nothing to run: write command = PROGRAM ARGUMENTS"));
    };
    let program = Program::new(&vassal_program.value, &config.binsh, &input.args);
    let privileged = vassal_program.value.privileged;
    let mut accounts = Accounts::default();
    let (identity, owner) = identities(&config, privileged, &mut accounts, &mut warnings)
        .map_err(|faults| Failure::of_faults(&Faults(faults)))?;
    settings::warn(&config, started_by.takes_verdict, &mut warnings);
    declared_files::check(&config, &input.cwd, &mut warnings)?;
    if let Some(place) = config.logto.as_ref().filter(|place| files::is_remote(&place.value)) {
        let refusal = Refusal {
            what: "is the address of a log server, which is not supported by this version of liege",
            why: "What the program prints would be lost",
            instead: "Name a file",
        };
        return Err(Failure::at(Step::Read, place, refusal.to_string()));
    }
    Ok(Prepared { config, program, identity, owner, warnings })
}

/// Who the program, and who its sockets belong to.
fn identities(
    config: &VassalConfig,
    privileged: bool,
    accounts: &mut Accounts<'_>,
    warnings: &mut Vec<String>,
) -> Result<(NewIdentity, SocketOwner), Vec<config::Fault>> {
    let mut faults = Vec::new();
    let mut identity = NewIdentity::default();
    let is_root = creds::effective_uid() == 0;
    if !privileged {
        let found = identity::look_up(config, accounts, warnings).and_then(|found| {
            if !is_root {
                let now = Identity::current().unwrap_or_default();
                identity::check_current_identity(config, &found, &now)?;
            }
            Ok(found)
        });
        match found {
            Ok(found) if is_root => identity = found,
            Ok(_) => {}
            Err(more) => faults.extend(more),
        }
        if is_root && config.uid.is_none() {
            warnings
                .push("runs as root: no uid is set (uid = 0 says that this is meant)".to_owned());
        }
    }
    let owner = config.chown_socket.as_ref().map(|place| identity::socket_owner(place, accounts));
    let owner = owner.transpose().unwrap_or_else(|more| {
        faults.extend(more);
        None
    });
    // What it had bound after the drop would be its own, too.
    let own = SocketOwner { uid: identity.uid, gid: identity.gid };
    if faults.is_empty() { Ok((identity, owner.unwrap_or(own))) } else { Err(faults) }
}
