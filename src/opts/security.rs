//! Which settings confine a program: if one of them is misspelt and so has no effect, the program has more
//! rights than its file says.

use super::lookup;
use super::{Opt, Section};

/// The security settings of other sections than those of identity and confinement.
const IN_OTHER_SECTIONS: [&str; 8] = [
    "chmod-socket",
    "chown-socket",
    "umask",
    "emperor-tyrant",
    "emperor-tyrant-nofollow",
    "emperor-tyrant-initgroups",
    "emperor-cap",
    "emperor-use-clone",
];

/// Whether a program without this setting is less confined than one with it.
#[must_use]
pub fn is_security(opt: &Opt) -> bool {
    matches!(opt.section, Section::Identity | Section::Confinement)
        || IN_OTHER_SECTIONS.contains(&opt.name)
        || opt.name.starts_with("jail")
}

/// The effect of the lack of a setting, as the end of a sentence.
#[must_use]
pub fn effect_of_lack(name: &str) -> &'static str {
    match lookup::find(name).map_or(name, |opt| opt.name) {
        "chmod-socket" | "chown-socket" => {
            "without which other users than meant could connect to its sockets"
        }
        "umask" => "without which other users than meant could use its files",
        _ => "without which the program would have more rights",
    }
}

/// The names of all security settings, for comparison with unknown names.
#[derive(Debug)]
pub struct Names(Vec<&'static str>);

impl Names {
    /// Collects them from the table.
    #[must_use]
    pub fn collect() -> Self {
        let is_one = |name: &&str| lookup::find(name).is_some_and(|opt| is_security(&opt));
        Self(lookup::all_names().filter(is_one).collect())
    }

    /// The security setting that an unknown name resembles most, by the rule of [`lookup::nearest`]; none if another
    /// option resembles it more.
    #[must_use]
    pub fn resembled_by(&self, name: &str) -> Option<&'static str> {
        // There are few of these, so most names are excluded before all options are compared.
        let (distance, nearest) = lookup::nearest_of(self.0.iter().copied(), name)?;
        let (any, _) = lookup::nearest_of(lookup::all_names(), name)?;
        (distance <= any).then_some(nearest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_security_settings_are_known() {
        for name in [
            "uid",
            "gid",
            "add-gid",
            "no-initgroups",
            "chroot",
            "pivot_root",
            "cap",
            "unshare",
            "no-new-privs",
            "chown-socket",
            "chmod-socket",
            "chmod",
            "umask",
            "jail",
            "limit-as",
            "limit-nproc",
            "max-fd",
            "cgroup",
            "namespace",
            "emperor-tyrant",
            "vassals-cap",
        ] {
            let opt = lookup::find(name).unwrap_or_else(|| panic!("{name} is unknown"));
            assert!(is_security(&opt), "{name}");
        }
        for name in ["http-socket", "processes", "logto", "emperor", "harakiri", "https"] {
            assert!(!is_security(&lookup::find(name).unwrap()), "{name}");
        }
    }

    #[test]
    fn what_the_lack_of_a_setting_does_is_told_of_its_own_kind() {
        for (name, what) in [
            ("uid", "the program would have more rights"),
            ("chmod-socket", "could connect to its sockets"),
            ("chown-socket", "could connect to its sockets"),
            ("umask", "could use its files"),
        ] {
            assert!(effect_of_lack(name).ends_with(what), "{name}: {}", effect_of_lack(name));
        }
    }

    #[test]
    fn a_slip_is_one_if_nothing_else_is_nearer() {
        let names = Names::collect();
        for (name, meant) in [
            ("udi", Some("uid")),
            ("UID", Some("uid")),
            ("add_gid", Some("add-gid")),
            ("no-new-priv", Some("no-new-privs")),
            ("chown-sokcet", Some("chown-socket")),
            ("limit_as", Some("limit-as")),
            ("jial", Some("jail")),
            ("htpp-socket", None),
            ("domain", None),
            ("", None),
        ] {
            assert_eq!(names.resembled_by(name), meant, "{name}");
        }
    }
}
