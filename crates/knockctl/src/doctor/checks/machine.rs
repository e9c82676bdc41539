//! The machine around the daemon: interfaces, clock, files, boot, kernel.

use std::path::Path;

use knock_core::config::Interfaces;

use crate::doctor::facts::Facts;
use crate::doctor::files::{File, Kind};
use crate::doctor::finding::{Finding, Section};

/// Where the daemon is, if nothing tells (README).
const INSTALLED: &str = "/usr/local/bin/knockd";
/// A unit that counts before that of a package.
const OWN_UNIT: &str = "/etc/systemd/system/knockd.service";

/// Of the interfaces.
pub(crate) fn interfaces(facts: &Facts) -> Section {
    let watched = facts.watched();
    let mut findings = absent(facts);
    for link in watched.iter().filter(|link| !link.loopback) {
        let Some(state) = deaf(link.up, link.addresses.is_empty()) else { continue };
        let why = "no knock is heard there";
        let finding = match facts.wanted() {
            // Of all the interfaces of a machine some may well be down.
            Interfaces::Any => Finding::note("interface-deaf", format!("{} {state}", link.name), why),
            _ => Finding::problem("interface-deaf", format!("{} {state}", link.name), why),
        };
        let remedy = match link.up {
            false => format!("ip link set {} up", link.name),
            true => {
                format!("ip address add ADDRESS/PREFIX dev {}, or its configuration for the boot", link.name)
            }
        };
        findings.push(finding.with(remedy));
    }
    findings.extend(default_route(facts));
    let names: Vec<_> = watched.iter().map(|link| link.name.as_str()).collect();
    Section { title: "Interfaces", well: format!("{} can be knocked at", names.join(", ")), findings }
}

fn deaf(up: bool, without_address: bool) -> Option<&'static str> {
    match (up, without_address) {
        (false, _) => Some("is down"),
        (true, true) => Some("has no address that could be knocked at"),
        _ => None,
    }
}

fn absent(facts: &Facts) -> Vec<Finding> {
    let wanted = facts.wanted();
    let is_there = |name: &&str| facts.links.iter().any(|link| link.name == **name);
    let literal = wanted.literal_names().filter(|name| !is_there(name));
    let mut findings: Vec<_> = literal
        .map(|name| {
            let names: Vec<_> = facts.links.iter().map(|link| link.name.as_str()).collect();
            let found = format!("there is no interface {name}; there are {}", names.join(", "));
            Finding::problem("interface-missing", found, "no knock is heard there until it comes")
                .with(format!("in [options] of {}: Interface = … with the right name", facts.config_path))
        })
        .collect();
    if findings.is_empty() && facts.watched().is_empty() {
        let found = format!("no interface is listened on ({wanted})");
        findings.push(
            Finding::problem("interface-missing", found, "no knock is heard").with(format!(
                "in [options] of {}: Interface = … (ip link shows the names)",
                facts.config_path
            )),
        );
    }
    findings
}

fn default_route(facts: &Facts) -> Option<Finding> {
    let watched = facts.watched();
    let through: Vec<_> = facts.links.iter().filter(|link| link.default_route).collect();
    if through.is_empty() || through.iter().any(|link| watched.iter().any(|watched| is_part(link, watched))) {
        return None;
    }
    let names: Vec<_> = through.iter().map(|link| link.name.as_str()).collect();
    let found = format!("the default route leads through {}, which is not listened on", names.join(", "));
    let finding =
        Finding::warning("default-route-deaf", found, "knocks from the internet most likely come in there");
    Some(finding.with(format!("in [options] of {}: Interface = {}", facts.config_path, names.join(","))))
}

/// Whether what comes in by a link is heard at another: the same, or the bridge that it is a port of.
fn is_part(link: &knock_linux::links::Link, watched: &knock_linux::links::Link) -> bool {
    link.index == watched.index || watched.master == Some(link.index) || link.vlan_of == Some(watched.index)
}

/// Of the clock.
pub(crate) fn clock(facts: &Facts) -> Section {
    let finding = (facts.clock == Some(false)).then(|| {
        if let Some(door) = facts.door_with_clock() {
            let why = format!("knocks at door {door} say what time it is: when this clock and the client's differ by two minutes, it does not open");
            return Finding::warning("clock", "the clock is not synchronised", why)
                .with("timedatectl set-ntp true (or: apt install chrony)");
        }
        let why = "whatever is open when the machine boots is closed in time by this clock, and log lines bear its time";
        Finding::note("clock", "the clock is not synchronised", why).with("timedatectl set-ntp true (or: apt install chrony)")
    });
    let well = match facts.clock {
        Some(true) => "it is synchronised",
        Some(false) => "doors close in time without it, but for those that were open at a boot",
        None => "the kernel does not tell whether it is synchronised",
    };
    Section { title: "Clock", well: well.into(), findings: finding.into_iter().collect() }
}

/// Of the files.
pub(crate) fn files(facts: &Facts) -> Section {
    let findings = facts.files.iter().flat_map(file).collect();
    Section { title: "Secrets", well: "nobody but root can read them".into(), findings }
}

fn file(file: &File) -> Vec<Finding> {
    let File { path, kind, mode, owner } = file;
    let path = path.display();
    let (name, why) = match kind {
        Kind::Configuration => ("the configuration", "the sequences stand in it"),
        Kind::RollingKey => {
            ("the rolling key", "whoever reads it can knock; knockd does not take it as it is")
        }
        Kind::FwknopKey => ("fwknop's key", "whoever reads it can knock; knockd does not take it as it is"),
        Kind::HostKey => {
            ("the knock key", "whoever reads it sees who knocks; knockd does not take it as it is")
        }
        Kind::AuthorizedKeys => ("the file of public keys", "it says who may knock"),
        Kind::OneTimeSequences => ("the list of one-time sequences", "whoever reads it can knock"),
        Kind::StateDirectory => ("the state directory", "it tells who has come in, and from where"),
        Kind::Socket => ("the control socket", "it opens doors and tells the sequences"),
        Kind::TellingLog => ("the log", "a sequence stands in it"),
    };
    let readable = mode & 0o044 != 0;
    // A socket's permission to write is what lets somebody connect (unix(7)).
    let exposed = match kind {
        Kind::Socket => mode & 0o022 != 0,
        Kind::StateDirectory => mode & 0o055 != 0,
        Kind::AuthorizedKeys => false,
        Kind::RollingKey | Kind::FwknopKey | Kind::HostKey => mode & 0o077 != 0,
        _ => readable,
    };
    let writable = *kind != Kind::Socket && mode & 0o022 != 0;
    let mut findings = Vec::new();
    let right = match kind {
        Kind::StateDirectory => "700",
        Kind::AuthorizedKeys => "go-w",
        _ => "600",
    };
    if exposed && !writable {
        let found = format!("{name} {path} is open to other users (mode {mode:03o})");
        let finding = match kind {
            Kind::StateDirectory => Finding::note("readable-secret", found, why),
            Kind::RollingKey | Kind::FwknopKey | Kind::HostKey => {
                Finding::problem("readable-secret", found, why)
            }
            _ => Finding::warning("readable-secret", found, why),
        };
        findings.push(finding.with(format!("chmod {right} {path}")));
    }
    if writable {
        let found = format!("{name} {path} can be changed by other users (mode {mode:03o})");
        let why = "whoever changes it opens what they like, and runs commands as root";
        findings.push(Finding::problem("writable-secret", found, why).with(format!("chmod {right} {path}")));
    }
    if *owner != 0 {
        let found = format!("{name} {path} belongs to the user {owner}, not to root");
        let finding = Finding::warning("foreign-owner", found, "that user can change it");
        findings.push(finding.with(format!("chown root {path} (where knockd runs as root)")));
    }
    findings
}

/// Of the next boot.
pub(crate) fn boot(facts: &Facts) -> Section {
    let findings = [start(facts), firewall_is_not_kept(facts)].into_iter().flatten().collect();
    Section { title: "Next boot", well: "knockd is started".into(), findings }
}

/// Whether the daemon is started, this one, and in time.
fn start(facts: &Facts) -> Option<Finding> {
    let boot = &facts.boot;
    let guarded = facts.guarded_in_words();
    let running = facts.process.program.as_deref();
    let other = boot.program.as_deref().filter(|program| running.is_some_and(|running| running != *program));
    let nothing_guards = match guarded.is_empty() {
        true => "after the next boot no knock is heard".to_owned(),
        false => format!("after the next boot nothing guards {guarded}, and no knock opens them"),
    };
    let remedy = how_to_start(facts, other.is_some());
    match other {
        _ if !boot.knockd => {
            let finding =
                Finding::warning("not-started-at-boot", "knockd is not started at boot", nothing_guards);
            Some(finding.with(remedy))
        }
        Some(other) => {
            let running = running.unwrap_or(other).display();
            let found = format!("{} is started at boot, and not {running}, which runs now", other.display());
            let why = match guarded.is_empty() {
                true => "another knockd may not understand this configuration".to_owned(),
                false => format!("the knockd of old cannot read this configuration: {nothing_guards}"),
            };
            Some(Finding::problem("other-program-at-boot", found, why).with(remedy))
        }
        None if !guarded.is_empty() && facts.guard() && boot.firewalls.is_empty() => {
            let found = format!("between the boot and knockd's start nothing guards {guarded}");
            let why = "the guard is knockd's: it is in place as soon as knockd has started";
            let remedy = "systemctl edit knockd, and write: [Unit] Wants=network-pre.target Before=network-pre.target, each \
                          on its line";
            Some(Finding::note("open-until-start", found, why).with(remedy))
        }
        None => None,
    }
}

/// What starts the daemon that runs, where nothing does or `another` program is started in its place.
fn how_to_start(facts: &Facts, another: bool) -> String {
    let boot = &facts.boot;
    let program = facts.process.program.as_deref().unwrap_or(Path::new(INSTALLED)).display();
    match (boot.systemd, another || boot.program.is_none()) {
        (true, false) => "systemctl enable knockd".into(),
        (true, true) => format!(
            "write {OWN_UNIT}: [Unit] Wants=network-pre.target Before=network-pre.target [Service] \
             ExecStart={program} -c {} Restart=on-failure [Install] WantedBy=multi-user.target, each on its line; then: \
             systemctl daemon-reload && systemctl reenable knockd",
            facts.config_path
        ),
        (false, true) if another => {
            format!(
                "in /etc/init.d/knockd: DAEMON={program}; in /etc/default/knockd: START_KNOCKD=1; then: update-rc.d \
                 knockd defaults"
            )
        }
        (false, _) if boot.switched_off => "in /etc/default/knockd: START_KNOCKD=1".into(),
        (false, _) => "update-rc.d knockd defaults, or as this machine starts its services".into(),
    }
}

fn firewall_is_not_kept(facts: &Facts) -> Option<Finding> {
    let maker = unkept(facts)?;
    let found = format!("the machine has rules of {maker}, and nothing puts them in place at boot");
    let why = "after the next boot the machine may be without its firewall";
    let remedy = match maker {
        "nftables" => {
            "nft list ruleset > /etc/nftables.conf (without table inet knockd), and: systemctl enable nftables"
        }
        _ => "apt install iptables-persistent && netfilter-persistent save",
    };
    Some(Finding::warning("firewall-not-kept", found, why).with(remedy))
}

/// What made the rules that drop, where nothing makes them again.
fn unkept(facts: &Facts) -> Option<&'static str> {
    let drops = |chain: &&crate::doctor::rules::Chain| chain.base.is_some_and(|base| base.drops);
    let dropping = facts.ruleset.chains.iter().find(drops)?;
    // Docker makes its own chains, and a FORWARD that drops, at each start.
    let is_docker = facts.ruleset.chains.iter().any(|chain| chain.name.starts_with("DOCKER"))
        && dropping.name == "FORWARD";
    let kept = !facts.boot.firewalls.is_empty() || is_docker;
    (!kept).then(|| if dropping.is_iptables() { "iptables" } else { "nftables" })
}

/// Of what the kernel has.
pub(crate) fn kernel(facts: &Facts) -> Section {
    let native = facts.guarded().next().is_some();
    let finding = |(lack, remedy): &(String, String)| {
        let finding = match native {
            true => Finding::problem("kernel", lack, "doors with open = … need it"),
            false => Finding::note("kernel", lack, "doors with open = … would need it"),
        };
        finding.with(remedy)
    };
    let findings = facts.lacking.iter().map(finding).collect();
    Section { title: "Kernel", well: "it has all that doors need".into(), findings }
}
