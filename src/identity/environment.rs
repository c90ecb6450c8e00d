//! What a process that changes its user has in its environment: `HOME`, `USER` and `LOGNAME`.

use std::ffi::{OsStr, OsString};

use crate::config::Located;
use crate::config::vassal::EnvChange;
use crate::sys::creds;
use crate::types::accounts::User;
use crate::types::environment::Variable;

use super::NewIdentity;

/// Whom a program has become.
#[derive(Clone, Copy, Debug)]
pub enum NewUser<'a> {
    /// An account.
    Account(&'a User),
    /// A number without one.
    Number,
}

impl<'a> NewUser<'a> {
    /// The user that is wanted, if we are another one.
    pub fn of(wanted: &'a NewIdentity) -> Option<Self> {
        wanted.uid.filter(|uid| *uid != creds::effective_uid())?;
        Some(wanted.account.as_ref().map_or(Self::Number, Self::Account))
    }
}

/// As login(1) does it: a program that finds the home of root, and may not enter it, fails in odd ways.
pub fn become_user(env: &mut Vec<Variable>, user: NewUser<'_>) {
    match user {
        NewUser::Account(user) => {
            let home = if user.home.is_empty() { "/" } else { &user.home };
            for (name, value) in [("HOME", home), ("USER", &user.name), ("LOGNAME", &user.name)] {
                put(env, name.as_ref(), value.into());
            }
        }
        NewUser::Number => {
            put(env, "HOME".as_ref(), "/".into());
            env.retain(|(name, _)| name != "USER" && name != "LOGNAME");
        }
    }
}

/// The environment of all vassals of an emperor: that of the user that it becomes, with the changes of its
/// configuration in their order. To be asked for before the user changes.
pub fn below_emperor(
    mut env: Vec<Variable>,
    changes: &[Located<EnvChange>],
    wanted: &NewIdentity,
) -> Vec<Variable> {
    if let Some(user) = NewUser::of(wanted) {
        become_user(&mut env, user);
    }
    for change in changes {
        let (EnvChange::Set(name, _) | EnvChange::Unset(name)) = &change.value;
        env.retain(|(known, _)| known != name.as_str());
        if let EnvChange::Set(name, value) = &change.value {
            env.push((name.into(), value.into()));
        }
    }
    env
}

/// Sets a variable, where it stands or at the end.
pub fn put(env: &mut Vec<Variable>, name: &OsStr, value: OsString) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => env.push((name.to_owned(), value)),
    }
}
