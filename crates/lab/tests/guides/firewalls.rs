//! Each firewall of the document, the real one.

use std::fs;
use std::io;
use std::process::Stdio;

use lab::{PortState, Process, has_tool, side_by_side, wait_until};

use crate::block::{blocks_of, text_of};
use crate::place::Place;
use crate::town::{SOON, Town, lab};
use crate::walk::Walk;

const DOCUMENT: &str = "docs/firewalls.md";

/// Types what is in a chapter.
type Play = fn(&Town<'_>, &mut Walk<'_>) -> io::Result<()>;

/// The chapters with something to type.
const CHAPTERS: [(&str, Play); 6] = [
    ("None", none),
    ("nftables", nftables),
    ("iptables", iptables),
    ("ufw", ufw),
    ("firewalld", firewalld),
    ("The rule by your own hand", by_hand),
];

#[test]
fn nothing_to_type_is_left_out() -> io::Result<()> {
    let mut chapters: Vec<_> = blocks_of(DOCUMENT)?.into_iter().map(|block| block.chapter).collect();
    chapters.dedup();
    assert_eq!(chapters, CHAPTERS.map(|(chapter, _)| chapter));
    Ok(())
}

/// Each with what is done before.
#[test]
fn each_firewall_lets_in_whom_the_door_lets_in() -> io::Result<()> {
    let chapters = CHAPTERS.iter().filter(|(chapter, _)| *chapter != "iptables");
    let chapters = chapters.map(|(chapter, _)| (*chapter, String::new()));
    let tables = ["nft", "legacy"].map(|kind| ("iptables", iptables_is(kind)));
    // Nearly all of it is waiting.
    side_by_side(chapters.chain(tables), |(chapter, prepared)| {
        play(chapter, &prepared)
            .map_err(|error| io::Error::new(error.kind(), format!("{chapter} {prepared}: {error}")))
    })
}

/// What Debian's alternatives do (update-alternatives(1)).
fn iptables_is(kind: &str) -> String {
    let link = |program| format!("ln -s /usr/sbin/{program}-{kind} /usr/local/sbin/{program}\n");
    ["iptables", "ip6tables"].map(link).concat() + "iptables -S\n"
}

/// Goes through a chapter on a server that has a door, after this.
fn play(chapter: &str, prepared: &str) -> io::Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let town = Town::with_service(&lab)?;
    let tools = [("ufw", "ufw"), ("firewalld", "firewalld"), ("firewalld", "dbus-daemon")];
    if let Some((_, missing)) = tools.iter().find(|(of, tool)| *of == chapter && !has_tool(tool)) {
        eprintln!("skipped: {missing} is not installed");
        return Ok(());
    }
    if let Err(error) = town.server.sh(prepared) {
        eprintln!("skipped: {error}");
        return Ok(());
    }
    town.make_package_s_door()?;
    town.server.sh("systemctl start knockd")?;
    town.assert_guarded();
    let mut walk = Walk::through_chapter(DOCUMENT, chapter, &town)?;
    let (_, play) = CHAPTERS.iter().find(|(name, _)| *name == chapter).unwrap();
    play(&town, &mut walk)?;
    walk.end();
    assert_door_works(&town)
}

/// Whoever knocks is let in, by both families, and nobody else.
fn assert_door_works(town: &Town<'_>) -> io::Result<()> {
    let sequence = town.sequence("ssh")?.replace(',', " ");
    town.assert_guarded();
    wait_until("a door that opens", SOON, || {
        let knocked = town.client.sh(&format!("knock --both -d 20 server.example.org {sequence}"));
        knocked.is_ok() && town.ssh().iter().all(|target| town.probe(*target) == PortState::Open)
    })?;
    town.close()
}

fn none(_: &Town<'_>, walk: &mut Walk<'_>) -> io::Result<()> {
    let table = walk.step("nft list table inet knockd")?;
    assert!(table.contains("drop"), "{table}");
    Ok(())
}

fn nftables(town: &Town<'_>, walk: &mut Walk<'_>) -> io::Result<()> {
    walk.file("/etc/nftables.conf")?;
    walk.step("nft -f /etc/nftables.conf")?;
    walk.shows("nft list chain inet filter input")?;
    // Loaded anew, the daemon's table is still there, and its rule comes again.
    assert_door_works(town)?;
    town.server.sh("nft -f /etc/nftables.conf")?;
    assert_door_works(town)
}

fn iptables(_: &Town<'_>, walk: &mut Walk<'_>) -> io::Result<()> {
    walk.step("iptables -P INPUT DROP")?;
    walk.shows("iptables -S INPUT").map(drop)
}

fn ufw(town: &Town<'_>, walk: &mut Walk<'_>) -> io::Result<()> {
    // Whoever came by SSH is asked.
    town.server.answer("y")?;
    walk.step("ufw enable")?;
    walk.step("ufw status verbose")?;
    assert_door_works(town)?;
    town.server.sh("ufw reload")?;
    assert_door_works(town)?;
    // A rule for the port does no harm.
    town.server.sh("ufw allow 22/tcp")?;
    assert_door_works(town)?;
    walk.step("ufw delete allow 22/tcp")?;
    assert_door_works(town)?;
    town.server.sh("ufw disable").map(drop)
}

fn firewalld(town: &Town<'_>, walk: &mut Walk<'_>) -> io::Result<()> {
    let _running = start_firewalld(&town.server)?;
    let services = town.server.sh("firewall-cmd --list-services")?;
    assert!(services.contains("ssh"), "the zone accepts it: {services}");
    town.assert_guarded();
    walk.step("firewall-cmd --reload")?;
    walk.shows("nft list chain inet firewalld filter_INPUT")?;
    let services = town.server.sh("firewall-cmd --list-services")?;
    assert!(!services.contains("ssh"), "{services}");
    assert_door_works(town)?;
    walk.step("NftablesTableOwner")?;
    let configuration = fs::read_to_string(town.server.path("/etc/firewalld/firewalld.conf"))?;
    assert_eq!(configuration.matches("NftablesTableOwner=no").count(), 1, "{configuration}");
    assert_door_works(town)
}

/// What the daemon's log says is what the document says.
#[test]
fn the_log_says_the_same_of_firewalld() -> io::Result<()> {
    let said = text_of("crates/knock-firewall/src/accept.rs")?;
    assert!(text_of(DOCUMENT)?.contains("sed -i '/^NftablesTableOwner=/d; $aNftablesTableOwner=no'"));
    assert!(said.contains("sed -i '/^NftablesTableOwner=/d; $aNftablesTableOwner=no'"));
    Ok(())
}

fn by_hand(town: &Town<'_>, walk: &mut Walk<'_>) -> io::Result<()> {
    let rules = "table inet filter { chain input { type filter hook input priority filter; policy drop;
        ct state established,related accept; meta l4proto ipv6-icmp accept; }; }";
    let config = town.server.read("/etc/knockd.conf")?;
    let config = config.replace("[options]", "[options]\naccept_rule = none");
    town.server.write("/etc/knockd.conf", &config)?;
    town.server.sh("systemctl restart knockd")?;
    town.server.host().nft(rules)?;
    walk.step("nft insert rule inet filter input").map(drop)
}

/// firewalld with its bus, both of which end with what is returned.
fn start_firewalld(server: &Place<'_>) -> io::Result<[Process; 2]> {
    server.write("~/bus.conf", lab::BUS)?;
    server.sh("mkdir -p /run/dbus /run/firewalld")?;
    let bus = spawn(server, "dbus-daemon", &["--config-file=/root/bus.conf", "--nofork", "--nopidfile"])?;
    let log = "--log-file=/root/firewalld.log";
    wait_until("a bus", SOON, || server.path("/run/dbus/system_bus_socket").exists())?;
    let daemon = spawn(server, "firewalld", &["--nofork", "--nopid", log])?;
    let runs = || server.sh("firewall-cmd --state").is_ok_and(|state| state.contains("running"));
    wait_until("firewalld", SOON, runs)?;
    Ok([daemon, bus])
}

fn spawn(server: &Place<'_>, program: &str, arguments: &[&str]) -> io::Result<Process> {
    let mut command = server.command(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    server.host().spawn(&mut command)
}
