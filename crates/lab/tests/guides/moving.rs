//! From Debian's knockd to doors without commands, and back.

use std::io;

use lab::{PortState, wait_until};

use crate::town::{SOON, Town, lab};
use crate::walk::Walk;

#[test]
fn who_has_knockd_moves_over_step_by_step() -> io::Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let town = Town::with_sshd(&lab)?;
    let mut walk = Walk::through("docs/moving-from-knockd.md", &town)?;
    let server = &town.server;
    server.write("/etc/knockd.conf", "[options]\n[mine]\nsequence = 7142,8319:udp,5623\ncommand = true\n")?;

    // `iptables` in a command is for knockers with IPv4.
    town.client.sh("grep -v fd09 /etc/hosts >hosts && cat hosts >/etc/hosts")?;
    walk.step("cp -a")?;
    walk.elsewhere("sh debian", "dpkg-deb --extract");
    walk.elsewhere("sh debian", "apt install ./toctoc_*.deb");
    server.sh("systemctl start knockd")?;
    let doors = walk.step("knockctl status")?;
    assert!(doors.contains("mine"), "{doors}");

    doors_of_commands(&mut walk, &town)?;
    doors_without(&mut walk, &town)?;
    one_time_sequences(&mut walk, &town)?;

    walk.step("cp -a /etc/knockd.conf.before")?;
    let list = || server.sh("nft list tables").is_ok_and(|tables| !tables.contains("inet knockd"));
    wait_until("nothing is guarded", SOON, list)?;
    server.sh("iptables -D INPUT -p tcp --dport 22 -j DROP")?;
    assert_eq!(town.probe(town.ssh()[0]), PortState::Open);
    walk.elsewhere("sh debian", "apt install knockd");
    walk.end();
    Ok(())
}

fn doors_of_commands(walk: &mut Walk<'_>, town: &Town<'_>) -> io::Result<()> {
    let (server, [ssh, _]) = (&town.server, town.ssh());
    walk.file("/etc/knockd.conf")?;
    server.sh("iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
        iptables -A INPUT -p tcp --dport 22 -j DROP
        systemctl restart knockd")?;
    assert_eq!(town.probe(ssh), PortState::Filtered);
    town.client.sh("knock -d 20 server.example.org 7142 8319:udp 5623 9214:udp")?;
    town.client.host().wait_until_open(ssh, SOON)?;

    walk.step("9214:udp 5623 8319:udp 7142")?;
    town.client.host().wait_until_closed(ssh, SOON)?;
    let rules = walk.step("iptables -S INPUT")?;
    assert!(!rules.contains("10.9.1.1"), "{rules}");
    Ok(())
}

fn doors_without(walk: &mut Walk<'_>, town: &Town<'_>) -> io::Result<()> {
    let [ssh, _] = town.ssh();
    walk.file("/etc/knockd.conf")?;
    walk.step("knockctl reload --confirm 60")?;
    town.assert_guarded();
    walk.step("sudo knockctl confirm")?;
    assert!(!town.server.sh("knockctl status")?.contains("confirm"));
    town.client.host().wait_until_open(ssh, SOON)?;
    walk.step("9214:udp 5623 8319:udp 7142")?;
    town.client.host().wait_until_closed(ssh, SOON)
}

fn one_time_sequences(walk: &mut Walk<'_>, town: &Town<'_>) -> io::Result<()> {
    walk.step("shuf")?;
    let list = town.server.read("/etc/knockd/ssh.sequences")?;
    assert_eq!(list.lines().filter(|line| line.starts_with(' ') && line.contains(":udp,")).count(), 50);
    walk.step("ssh.sequences")?;
    walk.file("/etc/knockd.conf")?;
    walk.step("knockctl reload --confirm 60")?;
    town.assert_guarded();
    walk.step("--one-time ssh.sequences")?;
    assert!(!town.server.sh("knockctl status")?.contains("confirm"));
    for (place, path) in [(&town.server, "/etc/knockd/ssh.sequences"), (&town.client, "/root/ssh.sequences")]
    {
        assert!(place.read(path)?.starts_with('#'), "{path}: the first line is not used");
    }
    Ok(())
}
