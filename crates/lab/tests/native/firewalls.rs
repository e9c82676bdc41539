//! The firewalls that a machine may have besides, and what their owners do with them.

use std::io;

use lab::{Daemon, PortState, has_tool};

use crate::life;
use crate::support::{LONG, SOON, Scene, reload, side_by_side, skip, terminate};

/// Drops everything that belongs to no connection.
const POLICY_DROP: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        meta l4proto ipv6-icmp accept
    }
    chain forward { type filter hook forward priority filter; policy drop; }
}";

/// The same by its last rule.
const LAST_RULE: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy accept;
        iif lo accept
        ct state established,related accept
        meta l4proto ipv6-icmp accept
        drop
    }
}";

/// Says no by a chain of its own.
const REJECTING: &str = "table inet filter {
    chain refuse {
        meta l4proto tcp reject with tcp reset
        reject
    }
    chain input {
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        meta l4proto ipv6-icmp accept
        jump refuse
    }
}";

/// Two tables, each of which has its say; by address family.
const MANY_TABLES: &str = "table ip mine {
    chain in4 {
        type filter hook input priority -10; policy drop;
        ct state established,related accept
    }
}
table ip6 mine {
    chain in6 {
        type filter hook input priority -10; policy drop;
        ct state established,related accept
        meta l4proto ipv6-icmp accept
    }
}
table inet last {
    chain input {
        type filter hook input priority 100; policy accept;
        ct state established,related accept
        tcp dport 1-1023 drop
    }
}";

/// Does what anybody does with a door, behind nftables' rules.
fn behind(rules: &str) -> io::Result<()> {
    let scene = Scene::new()?;
    scene.server().nft(rules)?;
    let mut daemon = scene.knockd(&life::doors("22/tcp", ""))?;
    life::play(&scene, &mut daemon, &scene.ssh())
}

pub(crate) fn nftables_with_policy_drop() -> io::Result<()> {
    behind(POLICY_DROP)
}

pub(crate) fn nftables_with_a_last_rule_that_drops() -> io::Result<()> {
    behind(LAST_RULE)
}

pub(crate) fn nftables_with_a_chain_that_rejects() -> io::Result<()> {
    behind(REJECTING)
}

pub(crate) fn nftables_with_several_tables() -> io::Result<()> {
    behind(MANY_TABLES)
}

/// Without guard the firewall alone keeps out.
pub(crate) fn nftables_alone_guards() -> io::Result<()> {
    let scene = Scene::new()?;
    scene.server().nft(POLICY_DROP)?;
    let mut daemon = scene.knockd(&format!("guard = no\n{}", life::doors("22/tcp", "")))?;
    life::play(&scene, &mut daemon, &scene.ssh())
}

/// The guest has a door open for a long time, whatever is done to the firewall.
struct Open {
    scene: Scene,
    daemon: Daemon,
}

impl Open {
    fn behind(make: impl FnOnce(&Scene) -> io::Result<()>) -> io::Result<Self> {
        let scene = Scene::new()?;
        make(&scene)?;
        let daemon =
            scene.knockd(&format!("logfile = {{dir}}/knockd.log\n{}", LONG.section("open = 22/tcp")))?;
        let open = Self { scene, daemon };
        side_by_side(open.scene.ssh(), |target| {
            open.scene.knock(target.ip(), &LONG)?;
            open.scene.assert_opens(target)
        })?;
        Ok(open)
    }

    fn assert_opens(&self) -> io::Result<()> {
        side_by_side(self.scene.ssh(), |target| self.scene.assert_opens(target))
    }
}

/// As `systemctl reload nftables` does.
pub(crate) fn nftables_loaded_again() -> io::Result<()> {
    let open = Open::behind(|scene| scene.server().nft(POLICY_DROP).map(drop))?;
    let scene = &open.scene;
    for round in 1..=2 {
        // In one step the user's own rules keep out whoever the guard does not.
        scene.keeping_out(&scene.ssh(), || {
            scene.server().nft(&format!("flush ruleset\n{POLICY_DROP}"))?;
            open.daemon.wait_for_lines(round, "somebody changed the table inet knockd: put back", SOON)?;
            open.daemon.wait_for_lines(round, "firewall: inet filter input: put back the rule", SOON)?;
            open.assert_opens()
        })?;
    }
    Ok(())
}

pub(crate) fn nftables_flushed_and_loaded_later() -> io::Result<()> {
    let open = Open::behind(|scene| scene.server().nft(POLICY_DROP).map(drop))?;
    open.scene.server().nft("flush ruleset")?;
    open.daemon.wait_for_line("somebody changed the table inet knockd: put back", SOON)?;
    // The guard is there without the rest.
    open.assert_opens()?;
    open.scene.server().nft(POLICY_DROP)?;
    open.assert_opens()
}

pub(crate) fn our_table_deleted() -> io::Result<()> {
    let open = Open::behind(|_| Ok(()))?;
    for (round, change) in [
        (1, "delete table inet knockd"),
        (2, "flush chain inet knockd doors"),
        (3, "flush table inet knockd"),
    ] {
        open.scene.server().nft(change)?;
        open.daemon.wait_for_lines(round, "somebody changed the table inet knockd: put back", SOON)?;
        open.assert_opens()?;
    }
    Ok(())
}

/// A rule that comes between is no matter, and one of the daemon's own is enough.
pub(crate) fn nftables_changed_by_hand() -> io::Result<()> {
    let open = Open::behind(|scene| scene.server().nft(POLICY_DROP).map(drop))?;
    let server = open.scene.server();
    server.nft("insert rule inet filter input tcp dport 22 drop")?;
    open.daemon.wait_for_line("firewall: inet filter input: put back the rule", SOON)?;
    open.assert_opens()?;
    let listed = server.sh("nft list chain inet filter input")?;
    assert_eq!(listed.matches("knockd").count(), 1, "{listed}");
    Ok(())
}

/// A chain that comes while the daemon runs.
pub(crate) fn nftables_that_comes_later() -> io::Result<()> {
    let open = Open::behind(|_| Ok(()))?;
    open.scene.server().nft(MANY_TABLES)?;
    for place in ["ip mine in4", "ip6 mine in6", "inet last input"] {
        open.daemon.wait_for_log(&format!("firewall: {place}: added the rule"), SOON)?;
    }
    open.assert_opens()
}

/// The rule for the old bit goes when the one for the new is there.
pub(crate) fn another_mark() -> io::Result<()> {
    let open = Open::behind(|scene| scene.server().nft(POLICY_DROP).map(drop))?;
    let server = open.scene.server();
    let listed = server.sh("nft list chain inet filter input")?;
    assert!(listed.contains("0x10000000"), "{listed}");
    open.scene.keeping_out(&open.scene.ssh(), || {
        open.daemon.write_config(&format!("[options]\nmark = 0x800\n{}", LONG.section("open = 22/tcp")))?;
        reload(&open.daemon)?;
        open.assert_opens()
    })?;
    let listed = server.sh("nft list chain inet filter input")?;
    assert!(listed.contains("0x00000800") && !listed.contains("0x10000000"), "{listed}");
    Ok(())
}

/// As most guides build it.
fn stateful_input(iptables: [&str; 2]) -> String {
    let [v4, v6] = iptables;
    format!(
        "{v4} -w -P INPUT DROP
        {v4} -w -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
        {v6} -w -P INPUT DROP
        {v6} -w -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
        {v6} -w -A INPUT -p icmpv6 -j ACCEPT
        "
    )
}

fn iptables_in_use(iptables: [&str; 2]) -> io::Result<()> {
    let scene = Scene::new()?;
    scene.server().sh(&stateful_input(iptables))?;
    let mut daemon = scene.knockd(&life::doors("22/tcp", ""))?;
    life::play(&scene, &mut daemon, &scene.ssh())?;
    // Whoever owns it reads it, saves it and loads it as before.
    for program in iptables {
        let server = scene.server();
        let listed = server.sh(&format!("{program} -w -L INPUT -n"))?;
        assert!(listed.contains("mark match 0x10000000/0x10000000"), "{listed}");
        assert!(!listed.contains("incompatible"), "{listed}");
        let saved = server.sh(&format!("{program}-save | {program}-restore && {program}-save"))?;
        assert!(saved.contains("--comment knockd -j ACCEPT"), "{saved}");
        server.sh(&format!("{program} -w -L -n -v"))?;
    }
    Ok(())
}

/// The rules are gone, and made anew as a guide says.
fn iptables_flushed(iptables: [&str; 2]) -> io::Result<()> {
    let open = Open::behind(|scene| scene.server().sh(&stateful_input(iptables)).map(drop))?;
    let [v4, v6] = iptables;
    open.scene.keeping_out(&open.scene.ssh(), || {
        let flush = format!("{v4} -w -F INPUT; {v6} -w -F INPUT; {}", stateful_input(iptables));
        open.scene.server().sh(&flush)?;
        open.daemon.wait_for_lines(2, ": put back the rule", SOON)?;
        open.assert_opens()
    })?;
    for program in iptables {
        let listed = open.scene.server().sh(&format!("{program} -w -S INPUT"))?;
        assert_eq!(listed.matches("--comment knockd").count(), 1, "{listed}");
    }
    Ok(())
}

const ON_NFTABLES: [&str; 2] = ["iptables-nft", "ip6tables-nft"];
const LEGACY: [&str; 2] = ["iptables-legacy", "ip6tables-legacy"];

fn has_legacy() -> io::Result<bool> {
    let has = has_tool("iptables-legacy") && Scene::new()?.server().sh("iptables-legacy -w -L INPUT").is_ok();
    if !has {
        skip("this kernel has no iptables-legacy");
    }
    Ok(has)
}

pub(crate) fn iptables_on_nftables() -> io::Result<()> {
    iptables_in_use(ON_NFTABLES)
}

pub(crate) fn iptables_on_nftables_flushed() -> io::Result<()> {
    iptables_flushed(ON_NFTABLES)
}

pub(crate) fn iptables_legacy() -> io::Result<()> {
    if has_legacy()? { iptables_in_use(LEGACY) } else { Ok(()) }
}

/// Nobody tells of it: it is looked at from time to time.
pub(crate) fn iptables_legacy_flushed() -> io::Result<()> {
    if has_legacy()? { iptables_flushed(LEGACY) } else { Ok(()) }
}

/// What guards stays when the daemon ends, and the rule that accepts lets in nobody without a door.
pub(crate) fn the_end_of_the_daemon_opens_nothing() -> io::Result<()> {
    let mut open = Open::behind(|scene| scene.server().nft(POLICY_DROP).map(drop))?;
    terminate(&mut open.daemon)?;
    open.assert_opens()?;
    open.scene.server().nft("delete table inet filter")?;
    open.assert_opens()?;
    for target in open.scene.ssh() {
        assert_ne!(open.scene.stranger().probe(target), PortState::Open);
    }
    Ok(())
}
