//! Who a process becomes: from the names in a configuration to numbers, and the drop of privileges.
//!
//! All look-ups come before any effect, so an unknown user never leaves a half-started vassal behind. What
//! is odd is an error and never means "stay root": `uid = -1`, `uid = 0x0`, an empty name.

pub mod environment;

use std::fmt;
use std::io;

use crate::config::{Fault, Located, VassalConfig};
use crate::sys::caps;
use crate::sys::creds::{self, Accounts, Identity, LookupError, User};
use crate::sys::socket::SocketOwner;
use crate::types::quote::quoted;

/// What the configuration wants, in numbers; `None` leaves what is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewIdentity {
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`, or the primary group of `uid`.
    pub gid: Option<u32>,
    /// The whole list of supplementary groups.
    pub groups: Option<Vec<u32>>,
    /// Those of `add-gid`, in its order.
    pub added: Vec<u32>,
    /// The account of `uid`, if the number has one.
    pub account: Option<User>,
}

/// Looks up what the configuration names; oddities go to `warnings`.
///
/// # Errors
/// Every user and group that does not exist or could not be looked up.
pub fn look_up(
    config: &VassalConfig,
    accounts: &mut Accounts<'_>,
    warnings: &mut Vec<String>,
) -> Result<NewIdentity, Vec<Fault>> {
    let mut faults = Vec::new();
    let user = config.uid.as_ref().map(|place| (place, user(place, accounts)));
    let user = match user {
        Some((place, Ok(user))) => Some((place, user)),
        Some((_, Err(fault))) => {
            faults.push(fault);
            None
        }
        None => None,
    };
    let mut noted = |place| group(place, accounts).map_err(|fault| faults.push(fault)).ok();
    let written_gid = config.gid.as_ref().and_then(&mut noted);
    let added: Vec<u32> = config.add_gid.iter().filter_map(noted).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let gid = match (written_gid, &user) {
        (None, Some((_, Found::Account(user)))) => Some(user.gid),
        (None, Some((place, Found::Number(uid)))) => {
            let message = format!("no account has this number, so the group is {uid} as well");
            warnings.push(place.fault(message).to_string());
            Some(*uid)
        }
        (gid, _) => gid,
    };
    let own = match (&user, gid) {
        _ if config.no_initgroups => Vec::new(),
        (Some((place, Found::Account(user))), Some(gid)) => accounts
            .groups_of(user, gid)
            .map_err(|error| vec![place.fault(format!("its groups: {error}"))])?,
        (Some((_, Found::Number(_))), Some(gid)) => vec![gid],
        // As in uWSGI, `gid` without `uid` means no supplementary group.
        _ => Vec::new(),
    };
    let changed = gid.is_some() || !added.is_empty();
    let groups = changed.then(|| unique(own.iter().chain(&added)));
    let uid = user.as_ref().map(|(_, user)| user.uid());
    let account = user.and_then(|(_, user)| match user {
        Found::Account(account) => Some(account),
        Found::Number(_) => None,
    });
    Ok(NewIdentity { uid, gid, groups, added, account })
}

/// Without repeats, in the order of the first ones.
fn unique<'a>(groups: impl Iterator<Item = &'a u32>) -> Vec<u32> {
    let mut list = Vec::new();
    for gid in groups {
        if !list.contains(gid) {
            list.push(*gid);
        }
    }
    list
}

/// A user as it was written: an account, or a number that no account has.
enum Found {
    Account(User),
    Number(u32),
}

impl Found {
    fn uid(&self) -> u32 {
        match self {
            Self::Account(user) => user.uid,
            Self::Number(uid) => *uid,
        }
    }
}

fn user(place: &Located<String>, accounts: &mut Accounts<'_>) -> Result<Found, Fault> {
    let found = match number(place, "user")? {
        Some(uid) => match accounts.user_of(uid) {
            Ok(user) => Ok(Found::Account(user)),
            Err(LookupError::Unknown) => Ok(Found::Number(uid)),
            Err(error) => Err(error),
        },
        None => accounts.user(&place.value).map(Found::Account),
    };
    found
        .map_err(|error| place.fault(format!("user {}: {error}", place.show(quoted(&place.value)))))
}

fn group(place: &Located<String>, accounts: &mut Accounts<'_>) -> Result<u32, Fault> {
    match number(place, "group")? {
        Some(gid) => Ok(gid),
        None => accounts.group(&place.value).map_err(|error| {
            place.fault(format!("group {}: {error}", place.show(quoted(&place.value))))
        }),
    }
}

/// The number, if it is written as one; whatever else is looked up as a name, `-1` and `0x0` too.
fn number(place: &Located<String>, what: &str) -> Result<Option<u32>, Fault> {
    let text = place.value.as_str();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        // -1 means "leave it" to the kernel.
        Ok(u32::MAX) | Err(_) => Err(place.fault(format!(
            "{} is not a {what} (expected a name, or a number below 4294967295)",
            place.show(text)
        ))),
        Ok(number) => Ok(Some(number)),
    }
}

/// Looks up the owner of unix sockets.
///
/// # Errors
/// A user or group that does not exist or could not be looked up.
pub fn socket_owner(
    place: &Located<(String, Option<String>)>,
    accounts: &mut Accounts<'_>,
) -> Result<SocketOwner, Vec<Fault>> {
    let (user_text, group_text) = &place.value;
    let uid = user(&place.with(user_text.clone()), accounts).map(|found| Some(found.uid()));
    let gid =
        group_text.as_ref().map(|text| group(&place.with(text.clone()), accounts)).transpose();
    match (uid, gid) {
        (Ok(uid), Ok(gid)) => Ok(SocketOwner { uid, gid }),
        (uid, gid) => Err([uid.err(), gid.err()].into_iter().flatten().collect()),
    }
}

/// Whether a process that is not root's already is what the configuration says.
///
/// # Errors
/// What it is not and cannot become.
pub fn check_current_identity(
    config: &VassalConfig,
    wanted: &NewIdentity,
    now: &Identity,
) -> Result<(), Vec<Fault>> {
    let fault = |place: &Located<String>, what: &str, id: u32| {
        place.fault(format!(
            "cannot become {what} {id}: liege runs as user {} and group {}, not as root; start the emperor as \
             root and without a uid of its own, or remove the option",
            now.uid, now.gid
        ))
    };
    let mut faults = Vec::new();
    if let (Some(place), Some(uid)) = (&config.uid, wanted.uid)
        && uid != now.uid
    {
        faults.push(fault(place, "user", uid));
    }
    if let (Some(place), Some(gid)) = (&config.gid, wanted.gid)
        && gid != now.gid
    {
        faults.push(fault(place, "group", gid));
    }
    for (place, &gid) in config.add_gid.iter().zip(&wanted.added) {
        if gid != now.gid && !now.groups.contains(&gid) {
            faults.push(fault(place, "group", gid));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Which part of the identity could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityPart {
    Groups,
    Group,
    User,
}

/// A change that the kernel has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRefused {
    pub part: IdentityPart,
    /// `file:line option`, or empty.
    pub origin: String,
    pub message: String,
}

/// `file:line option: what is wrong`.
impl fmt::Display for IdentityRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.origin.is_empty() {
            write!(f, "{}: ", self.origin)?;
        }
        f.write_str(&self.message)
    }
}

/// Names the place and the part of a change that the kernel has refused.
fn refused(
    part: IdentityPart,
    place: Option<&Located<String>>,
    what: String,
) -> impl FnOnce(io::Error) -> IdentityRefused {
    let origin = place.map(ToString::to_string).unwrap_or_default();
    move |error| {
        let message = format!("cannot set the {what}: {error}");
        IdentityRefused { part, origin, message }
    }
}

/// Becomes what is wanted: groups, group, user, and proof that there is no way back.
///
/// # Errors
/// The part that the kernel has refused.
pub fn drop_privileges(config: &VassalConfig, wanted: &NewIdentity) -> Result<(), IdentityRefused> {
    let user = config.uid.as_ref();
    if let Some(groups) = &wanted.groups {
        let place = config.add_gid.first().or(user).or(config.gid.as_ref());
        let what = format!("groups {groups:?}");
        creds::set_groups(groups).map_err(refused(IdentityPart::Groups, place, what))?;
    }
    if let Some(gid) = wanted.gid {
        let place = config.gid.as_ref().or(user);
        creds::set_gid(gid).map_err(refused(IdentityPart::Group, place, format!("group {gid}")))?;
    }
    if let Some(uid) = wanted.uid {
        let cap = config.cap.as_ref();
        let kept = cap.map_or(Ok(()), |_| caps::keep_over_a_change_of_user());
        let set = kept.and_then(|()| creds::set_uid(uid)).and_then(|()| creds::verify_uid(uid));
        set.map_err(refused(IdentityPart::User, user, format!("user {uid}")))?;
        if let Some(cap) = cap {
            caps::keep_only(cap.value).map_err(|error| {
                let message = format!(
                    "cannot keep these capabilities: {error}; have liege started with them"
                );
                IdentityRefused { part: IdentityPart::User, origin: cap.to_string(), message }
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;
    use std::path::Path;

    fn at(key: &str, value: &str) -> Located<String> {
        Located { value: value.into(), key: key.into(), origin: Origin::CommandLine, hidden: false }
    }

    fn accounts(dir: &Path) -> Accounts<'_> {
        std::fs::write(
            dir.join("passwd"),
            "root:x:0:0::/:\nweb:x:33:34::/srv:\n3proxy:x:7:8::/:\n",
        )
        .unwrap();
        std::fs::write(dir.join("group"), "root:x:0:\nweb:x:34:\nmedia:x:50:web\nlog:x:9:\n")
            .unwrap();
        Accounts::new(dir, None)
    }

    fn config(uid: &str, gid: &str, add: &[&str]) -> VassalConfig {
        VassalConfig {
            uid: (!uid.is_empty()).then(|| at("uid", uid)),
            gid: (!gid.is_empty()).then(|| at("gid", gid)),
            add_gid: add.iter().map(|text| at("add-gid", text)).collect(),
            ..Default::default()
        }
    }

    /// uid, gid, groups, and whether there was a warning.
    type Expected<'a> = (Option<u32>, Option<u32>, Option<&'a [u32]>, bool);

    #[test]
    fn a_vassal_gets_the_user_the_group_and_the_groups_that_its_file_means() {
        let dir = tempfile::tempdir().unwrap();
        let mut accounts = accounts(dir.path());
        #[rustfmt::skip]
        let table: &[(&str, &str, &[&str], Expected<'_>)] = &[
            ("", "", &[], (None, None, None, false)),
            ("web", "web", &[], (Some(33), Some(34), Some(&[34, 50]), false)),
            ("web", "", &[], (Some(33), Some(34), Some(&[34, 50]), false)),
            ("33", "9", &[], (Some(33), Some(9), Some(&[9, 50]), false)),
            ("web", "34", &["log", "50", "7"], (Some(33), Some(34), Some(&[34, 50, 9, 7]), false)),
            ("1234", "", &[], (Some(1234), Some(1234), Some(&[1234]), true)),
            ("1234", "0", &["9"], (Some(1234), Some(0), Some(&[0, 9]), false)),
            ("", "log", &[], (None, Some(9), Some(&[]), false)),
            ("", "", &["log"], (None, None, Some(&[9]), false)),
            ("0", "0", &[], (Some(0), Some(0), Some(&[0]), false)),
            ("3proxy", "web", &[], (Some(7), Some(34), Some(&[34]), false)),
        ];
        for (uid, gid, add, expected) in table {
            let mut warnings = Vec::new();
            let wanted = look_up(&config(uid, gid, add), &mut accounts, &mut warnings).unwrap();
            let got = (wanted.uid, wanted.gid, wanted.groups.as_deref(), !warnings.is_empty());
            assert_eq!(got, *expected, "uid = {uid}, gid = {gid}, add-gid = {add:?}");
        }
        let mut own_only = config("web", "web", &["log"]);
        own_only.no_initgroups = true;
        let wanted = look_up(&own_only, &mut accounts, &mut Vec::new()).unwrap();
        assert_eq!(wanted.groups, Some(vec![9]));
    }

    #[test]
    fn an_odd_user_is_an_error_and_never_root() {
        let dir = tempfile::tempdir().unwrap();
        let mut accounts = accounts(dir.path());
        for odd in [
            "4294967295",
            "4294967296",
            "-1",
            "+0",
            " 0",
            "0 ",
            "0x0",
            "root ",
            "Root",
            "nobody-here",
            "٣",
        ] {
            let mut try_it = |config| look_up(&config, &mut accounts, &mut Vec::new()).is_err();
            assert!(try_it(config(odd, "", &[])), "uid = {odd:?}");
            assert!(try_it(config("", odd, &[])), "gid = {odd:?}");
            assert!(try_it(config("", "", &[odd])), "add-gid = {odd:?}");
        }
        let faults =
            look_up(&config("x", "y", &["z"]), &mut accounts, &mut Vec::new()).unwrap_err();
        let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["uid", "gid", "add-gid"]);
        let empty = VassalConfig { uid: Some(at("uid", "")), ..Default::default() };
        assert!(look_up(&empty, &mut accounts, &mut Vec::new()).is_err());
    }

    #[test]
    fn an_ordinary_user_may_write_who_it_is_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut accounts = accounts(dir.path());
        let now = Identity { uid: 33, gid: 34, groups: vec![34, 50] };
        let mut refused = |config: VassalConfig| {
            let wanted = look_up(&config, &mut accounts, &mut Vec::new()).unwrap();
            check_current_identity(&config, &wanted, &now)
                .map_or_else(|faults| faults.len(), |()| 0)
        };
        assert_eq!(refused(config("", "", &[])), 0);
        assert_eq!(refused(config("web", "", &[])), 0);
        assert_eq!(refused(config("33", "web", &["media"])), 0);
        assert_eq!(refused(config("root", "", &[])), 1);
        assert_eq!(refused(config("root", "log", &["media", "log"])), 3);
    }

    #[test]
    fn the_owner_of_a_socket_is_looked_up_like_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut accounts = accounts(dir.path());
        let place = |user: &str, group: Option<&str>| {
            at("chown-socket", "").with((user.to_owned(), group.map(str::to_owned)))
        };
        let owner = socket_owner(&place("web", None), &mut accounts).unwrap();
        assert_eq!(owner, SocketOwner { uid: Some(33), gid: None });
        let owner = socket_owner(&place("5", Some("media")), &mut accounts).unwrap();
        assert_eq!(owner, SocketOwner { uid: Some(5), gid: Some(50) });
        assert_eq!(socket_owner(&place("x", Some("y")), &mut accounts).unwrap_err().len(), 2);
    }
}
