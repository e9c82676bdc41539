//! What commands can do in the service, and what they cannot.

use std::io;

use lab::wait_until;

use crate::machine::{Init, Machine, Prepared};
use crate::scene::{COMMANDS, CONFIG, NATIVE_DOOR, SOON, Scene};
use crate::systemd::use_drop_in;

/// What people's commands do.
const USUAL: &[&str] = &[
    "iptables -I INPUT -s 192.0.2.7 -p tcp --dport 22 -j ACCEPT",
    "iptables -D INPUT -s 192.0.2.7 -p tcp --dport 22 -j ACCEPT",
    "iptables-legacy -I INPUT -s 192.0.2.7 -j ACCEPT",
    "ip6tables -I INPUT -s 2001:db8::7 -j ACCEPT",
    "nft add table inet mine",
    "ipset create mine hash:ip timeout 60",
    "ip route add 192.0.2.0/24 dev eth0",
    "sysctl -w net.ipv4.conf.all.log_martians=1",
    "ufw allow proto tcp from 192.0.2.7 to any port 22",
    "logger -t mine knocked",
    "systemctl restart logrotate.timer",
    "curl --silent --output /dev/null http://127.0.0.1:9 || test $? = 7",
    "echo mine >/etc/hosts.allow",
    "mkdir -p /var/lib/mine && touch /var/lib/mine/opened",
    "touch /tmp/opened /home/opened /root/opened /run/opened-too",
    "chown nobody /var/lib/mine/opened && chmod 4755 /tmp/opened; rm /var/lib/mine/opened",
    "sudo -u nobody id",
    "su -s /bin/sh -c id nobody",
    "runuser -u nobody -- sleep 60 & until pkill -u nobody sleep; do sleep 0.1; done",
    "test \"$(/usr/local/bin/set-group-id --group --name)\" = mail",
    "nohup sleep 60 >/dev/null 2>&1 &",
];
/// What takes the drop-in file for more.
const UNUSUAL: &[&str] = &[
    "mount -t tmpfs tmpfs /mnt && umount /mnt",
    "unshare --net true",
    "touch /usr/local/opened",
    "hostname other && hostname machine",
];

#[test]
fn commands_do_what_they_are_used_to() -> io::Result<()> {
    let Some(prepared) = Prepared::find()? else { return Ok(()) };
    let scene = Scene::set(&prepared, Init::Systemd)?;
    let machine = &scene.machine;
    let config = CONFIG.replace("touch /run/opened", "sh /root/commands").replace("rm /run/opened", "true");
    machine.write("/etc/knockd.conf", &config)?;
    machine.write("/root/commands", "")?;
    machine.sh("install -m 2755 -g mail /usr/bin/id /usr/local/bin/set-group-id")?;
    machine.install("/srv/toctoc.deb")?;
    start(machine)?;
    assert_reader_is_confined(machine)?;
    assert_eq!(failures(&scene, USUAL)?, "");
    let refused = failures(&scene, UNUSUAL)?;
    assert!(UNUSUAL.iter().all(|command| refused.contains(command)), "{refused}");

    use_drop_in(machine, "more-for-commands")?;
    machine.sh("systemctl restart knockd")?;
    assert_eq!(failures(&scene, UNUSUAL)?, "");
    Ok(())
}

#[test]
fn native_doors_need_next_to_nothing() -> io::Result<()> {
    let Some(prepared) = Prepared::find()? else { return Ok(()) };
    let scene = Scene::set(&prepared, Init::Systemd)?;
    let machine = &scene.machine;
    machine.write("/etc/knockd.conf", &format!("[options]\nLogFile = /var/log/knockd.log\n{NATIVE_DOOR}"))?;
    // A firewall that drops, so that a rule is to be put there.
    machine.sh("iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT")?;
    machine.install("/srv/toctoc.deb")?;
    use_drop_in(machine, "native-doors-only")?;
    start(machine)?;
    assert_reader_is_confined(machine)?;
    assert!(!scene.is_open());
    scene.open_natively()?;
    machine.sh("knockctl close --all")?;
    assert!(!scene.is_open());
    machine.sh("systemctl reload knockd")?;
    scene.open_natively()?;
    let log = machine.read("/var/log/knockd.log")?;
    assert!(!log.contains("error:"), "{log}");
    Ok(())
}

fn start(machine: &Machine) -> io::Result<()> {
    let started = machine.sh("systemctl enable --now knockd");
    started.map(drop).map_err(|error| {
        let journal = machine.sh("journalctl --no-pager -u knockd").unwrap_or_default();
        io::Error::other(format!("{error}\n{journal}"))
    })
}

/// What strangers send is read by a process of a user that may do nothing.
fn assert_reader_is_confined(machine: &Machine) -> io::Result<()> {
    let readers = machine.sh("pgrep --uid knockd | while read id; do cat /proc/$id/status; done")?;
    assert!(readers.contains("CapEff:\t0000000000000000") && readers.contains("Seccomp:\t2"), "{readers}");
    Ok(())
}

/// Lets a door's command try them, and returns those that have failed, with what they said.
fn failures(scene: &Scene, commands: &[&str]) -> io::Result<String> {
    let machine = &scene.machine;
    let script = commands.iter().map(|command| {
        let shown = command.replace('\'', "\"");
        format!("said=$( ( {command}\n ) 2>&1) || echo \"$said:\" '{shown}' >>/run/failed\n")
    });
    let script = script.collect::<String>();
    let script = format!(": >/run/failed\n{script}mv /run/failed /run/tried\n");
    // The last time is over, with its stop command.
    machine.sh("knockctl close --all")?;
    wait_until("the door is closed", SOON, || {
        machine.sh("knockctl grants --json").is_ok_and(|grants| grants.contains("\"grants\":[]"))
    })?;
    machine.sh("rm -f /run/tried")?;
    machine.write("/root/commands", &script)?;
    scene.knock_until("the commands have run", COMMANDS, || machine.has("/run/tried"))?;
    machine.read("/run/tried")
}
