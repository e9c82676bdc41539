//! What is started at boot: the daemon, and whatever puts the machine's firewall in place.

use std::fs;
use std::path::Path;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Whether systemd runs the machine.
    pub(crate) systemd: bool,
    /// Whether knockd is started.
    pub(crate) knockd: bool,
    /// `/etc/default/knockd` says that it is not to be.
    pub(crate) switched_off: bool,
    /// Which firewalls are put in place.
    pub(crate) firewalls: Vec<&'static str>,
}

/// What puts a firewall in place, and its unit.
const FIREWALLS: [(&str, &str); 5] = [
    ("nftables", "nftables.service"),
    ("iptables-persistent", "netfilter-persistent.service"),
    ("firewalld", "firewalld.service"),
    ("ufw", "ufw.service"),
    ("shorewall", "shorewall.service"),
];

/// Looks below a root directory, which is `/` but for tests.
pub(crate) fn read(root: &Path) -> Boot {
    let switched_off = default_says_no(root);
    let by_init = is_enabled_for_init(root, "knockd");
    let systemd = root.join("run/systemd/system").is_dir();
    let by_systemd = is_wanted(root, "knockd.service");
    Boot {
        systemd,
        knockd: by_systemd || (!systemd && by_init && !switched_off),
        switched_off: switched_off && !by_systemd,
        firewalls: FIREWALLS
            .iter()
            .filter(|(name, unit)| is_on(root, name, unit))
            .map(|(name, _)| *name)
            .collect(),
    }
}

fn is_on(root: &Path, name: &str, unit: &str) -> bool {
    let starts = is_wanted(root, unit) || is_enabled_for_init(root, unit.trim_end_matches(".service"));
    starts && (name != "ufw" || ufw_is_enabled(root))
}

/// The unit of ufw runs in any case; its own file says whether it does something.
fn ufw_is_enabled(root: &Path) -> bool {
    let text = fs::read_to_string(root.join("etc/ufw/ufw.conf")).unwrap_or_default();
    text.lines().any(|line| line.trim().eq_ignore_ascii_case("enabled=yes"))
}

/// Whether some target wants a unit (systemctl(1), `enable`).
fn is_wanted(root: &Path, unit: &str) -> bool {
    let directories = fs::read_dir(root.join("etc/systemd/system")).into_iter().flatten().flatten();
    let wants = directories.filter(|entry| {
        let name = entry.file_name();
        [".wants", ".requires"].iter().any(|end| name.to_string_lossy().ends_with(end))
    });
    wants.into_iter().any(|entry| fs::symlink_metadata(entry.path().join(unit)).is_ok())
}

/// Whether a run level starts a script (update-rc.d(8)).
fn is_enabled_for_init(root: &Path, name: &str) -> bool {
    let level =
        |level: &str| fs::read_dir(root.join(format!("etc/rc{level}.d"))).into_iter().flatten().flatten();
    let starts = |file: &str| {
        file.strip_prefix('S')
            .is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()) == name)
    };
    ["2", "3", "5", "S"].into_iter().flat_map(level).any(|entry| starts(&entry.file_name().to_string_lossy()))
}

fn default_says_no(root: &Path) -> bool {
    let text = fs::read_to_string(root.join("etc/default/knockd")).unwrap_or_default();
    let setting = text.lines().filter_map(|line| line.trim().strip_prefix("START_KNOCKD=")).next_back();
    setting.is_some_and(|value| value.trim_matches(['"', '\'', ' ']) != "1")
}
