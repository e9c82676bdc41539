//! What is started at boot: the daemon, and whatever puts the machine's firewall in place.

use std::fs;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Whether systemd runs the machine.
    pub(crate) systemd: bool,
    /// Whether knockd is started.
    pub(crate) knockd: bool,
    /// `/etc/default/knockd` says that it is not to be.
    pub(crate) switched_off: bool,
    /// The program that its unit or its script starts, if it is told to.
    pub(crate) program: Option<PathBuf>,
    /// Which firewalls are put in place.
    pub(crate) firewalls: Vec<&'static str>,
}

/// The daemon's unit.
const UNIT: &str = "knockd.service";
/// Where units are, the first counts (systemd.unit(5)).
const UNITS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// What puts a firewall in place, and its unit.
const FIREWALLS: [(&str, &str); 5] = [
    ("nftables", "nftables.service"),
    ("iptables-persistent", "netfilter-persistent.service"),
    ("firewalld", "firewalld.service"),
    ("ufw", "ufw.service"),
    ("shorewall", "shorewall.service"),
];

/// Looks below a root directory, which is `/` but for tests. A unit of any name that starts the `running` program is the
/// daemon's.
pub(crate) fn read(root: &Path, running: Option<&Path>) -> Boot {
    let switched_off = setting(root, "etc/default/knockd", "START_KNOCKD=").is_some_and(|value| value != "1");
    let by_init = is_enabled_for_init(root, "knockd");
    let systemd = root.join("run/systemd/system").is_dir();
    let wanted = wanted(root);
    let own =
        wanted.iter().find(|unit| running.is_some() && program_of_unit(root, unit).as_deref() == running);
    let by_systemd = own.is_some() || wanted.iter().any(|unit| unit == UNIT);
    let of_unit = program_of_unit(root, own.map_or(UNIT, String::as_str)).filter(|_| systemd);
    Boot {
        systemd,
        knockd: by_systemd || (!systemd && by_init && !switched_off),
        switched_off: switched_off && !by_systemd,
        program: of_unit.or_else(|| of_script(root)),
        firewalls: FIREWALLS
            .iter()
            .filter(|(name, unit)| is_on(root, &wanted, name, unit))
            .map(|(name, _)| *name)
            .collect(),
    }
}

fn is_on(root: &Path, wanted: &[String], name: &str, unit: &str) -> bool {
    let starts = wanted.iter().any(|wanted| wanted == unit)
        || is_enabled_for_init(root, unit.trim_end_matches(".service"));
    // The unit of ufw runs in any case; its own file says whether it does something.
    let ufw_is_enabled = || {
        setting(root, "etc/ufw/ufw.conf", "ENABLED=").is_some_and(|value| value.eq_ignore_ascii_case("yes"))
    };
    starts && (name != "ufw" || ufw_is_enabled())
}

/// The units that some target wants (systemctl(1), `enable`).
fn wanted(root: &Path) -> Vec<String> {
    let names = |directory: PathBuf| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
    };
    names(root.join("etc/systemd/system"))
        .filter(|(_, name)| name.ends_with(".wants") || name.ends_with(".requires"))
        .flat_map(|(directory, _)| names(directory))
        .map(|(_, unit)| unit)
        .collect()
}

/// The program that a unit starts.
fn program_of_unit(root: &Path, unit: &str) -> Option<PathBuf> {
    let file = UNITS.iter().find_map(|place| fs::read_to_string(root.join(place).join(unit)).ok())?;
    let own = format!("etc/systemd/system/{unit}.d");
    let own = fs::read_dir(root.join(own)).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut own: Vec<_> = own.collect();
    own.sort();
    let texts = [file].into_iter().chain(own.iter().filter_map(|path| fs::read_to_string(path).ok()));
    let command = texts.filter_map(|text| value(&text, "ExecStart=")).next_back()?;
    let program = command.trim_start_matches(['-', '@', ':', '+', '!']).split_whitespace().next()?;
    Some(resolved(program))
}

/// The program that the init script starts, where it is named in full.
fn of_script(root: &Path) -> Option<PathBuf> {
    let program = setting(root, "etc/init.d/knockd", "DAEMON=")?;
    (!program.contains('$')).then(|| resolved(&program))
}

/// As the kernel names a program that runs.
fn resolved(path: &str) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.into())
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

/// What a file says behind a key.
fn setting(root: &Path, path: &str, key: &str) -> Option<String> {
    value(&fs::read_to_string(root.join(path)).ok()?, key)
}

/// What stands behind a key, in the last such line.
fn value(text: &str, key: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    values.map(|value| value.trim_matches(['"', '\'', ' ']).to_owned()).next_back()
}
