//! Every firewall that Linux has, and the two recipes that everybody begins with.

use std::io;
use std::time::{Duration, Instant};

use lab::Session;

use crate::support::{CLOSE, DROPPING, OPEN, SOON, STOP, Scene, side_by_side, skip};

/// As most guides build it, for a program of the iptables family.
fn stateful_input(iptables: &str) -> String {
    format!(
        "{iptables} -P INPUT DROP
         {iptables} -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT"
    )
}

/// One door that opens and one that closes.
fn open_and_close(scene: &Scene, config: &str, opening: &str, closing: &str) -> io::Result<()> {
    let daemon = scene.knockd(config)?;
    scene.assert_shut(scene.ssh4());
    scene.knock(opening)?;
    scene.assert_opens(scene.ssh4())?;
    scene.stranger().knock(scene.server().ip4(), closing)?;
    daemon.wait_for_lines(2, "OPEN SESAME", SOON)?;
    scene.assert_opens(scene.ssh4())?;
    scene.knock(closing)?;
    scene.assert_closes(scene.ssh4())
}

#[test]
fn nftables_set_element_per_knocker() -> io::Result<()> {
    let config = format!(
        "[options]\n[open]\nsequence = 7142,8319,9623\ntcpflags = syn\n{OPEN}\n\
         [close]\nsequence = 9623,8319,7142\ntcpflags = syn\n{CLOSE}"
    );
    open_and_close(&Scene::new(DROPPING)?, &config, "7142,8319,9623", "9623,8319,7142")
}

#[test]
fn nftables_rule_per_knocker() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let _daemon = scene.knockd(
        "[options]
        [SSH]
        sequence = 7142,8319,9623
        cmd_timeout = 2
        start_command = nft insert rule inet filter input ip saddr %IP% tcp dport 22 accept comment \\\"door %IP%\\\"
        stop_command = nft delete rule inet filter input handle $(nft -a list chain inet filter input | sed -n 's/.*\"door %IP%\" # handle //p')
        ",
    )?;
    scene.assert_shut(scene.ssh4());
    scene.knock("7142,8319,9623")?;
    scene.assert_opens(scene.ssh4())?;
    scene.assert_closes(scene.ssh4())
}

fn iptables_opens_and_closes(iptables: &str) -> io::Result<()> {
    let scene = Scene::with_script(&stateful_input(iptables))?;
    let config = format!(
        "[options]
        [open]
        sequence = 7142,8319,9623
        start_command = {iptables} -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
        [close]
        sequence = 9623,8319,7142
        start_command = {iptables} -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT || true
        "
    );
    open_and_close(&scene, &config, "7142,8319,9623", "9623,8319,7142")
}

#[test]
fn iptables_on_nftables() -> io::Result<()> {
    iptables_opens_and_closes("/usr/sbin/iptables-nft")
}

#[test]
fn iptables_legacy() -> io::Result<()> {
    let lists = Scene::with_script("/usr/sbin/iptables-legacy -w -L INPUT");
    if let Err(error) = lists {
        skip(&format!("this kernel has no iptables-legacy: {error}"));
        return Ok(());
    }
    iptables_opens_and_closes("/usr/sbin/iptables-legacy -w")
}

/// The first recipe as it stands in the guides, but for the place of its log.
#[test]
fn recipe_of_two_doors_for_http() -> io::Result<()> {
    let scene = Scene::with_script(&stateful_input("/sbin/iptables"))?;
    let _http = lab::Service::start(scene.server(), 80)?;
    let target = scene.server().at4(80);
    let daemon = scene.knockd(
        "[options]
        logfile = {dir}/knockd.log

[openHTTP]
        sequence    = 7000,8000,9000
        seq_timeout = 5
        command     = /sbin/iptables -I INPUT -s %IP% -p tcp --dport 80 -j ACCEPT
        tcpflags    = syn

[closeHTTP]
        sequence    = 9000,8000,7000
        seq_timeout = 5
        command     = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 80 -j ACCEPT
        tcpflags    = syn
",
    )?;
    scene.assert_shut(target);
    scene.knock("7000,8000,9000")?;
    scene.assert_opens(target)?;
    daemon.wait_for_log("10.9.1.1: openHTTP: OPEN SESAME", SOON)?;
    scene.assert_shut(scene.ssh4());
    scene.knock("9000,8000,7000")?;
    scene.assert_closes(target)?;
    daemon.wait_for_log("10.9.1.1: closeHTTP: OPEN SESAME", SOON)?;
    scene.knock("7000,8000,9000")?;
    scene.assert_opens(target)
}

/// The second recipe as it stands in the guides, but for the place of its log: the connection made in time goes on.
#[test]
fn recipe_of_one_door_for_ssh() -> io::Result<()> {
    let scene = Scene::with_script(&stateful_input("/sbin/iptables"))?;
    let daemon = scene.knockd(
        "[options]
      logfile = {dir}/knockd.log

[SSH]
      sequence    = 7000,8000,9000
      seq_timeout = 5
      command     = /sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
      tcpflags    = syn
      cmd_timeout   = 10
      stop_command  = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
",
    )?;
    scene.assert_shut(scene.ssh4());
    let begin = Instant::now();
    scene.knock("7000,8000,9000")?;
    scene.assert_opens(scene.ssh4())?;
    let mut session = Session::open(scene.guest(), scene.ssh4())?;
    session.echo("in")?;
    daemon.wait_for_log("10.9.1.1: SSH: command timeout", SOON)?;
    assert!(begin.elapsed() >= Duration::from_secs(10), "closed after {:?}", begin.elapsed());
    scene.assert_closes(scene.ssh4())?;
    session.echo("still in")
}

#[test]
fn door_with_start_and_stop_for_both_families() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let _daemon = scene
        .knockd(&format!("[options]\n[SSH]\nsequence = 7142,8319:udp,9623\ncmd_timeout = 2\n{OPEN}{STOP}"))?;
    side_by_side([scene.ssh4(), scene.ssh6()], |target| {
        scene.assert_shut(target);
        scene.guest().knock(target.ip(), "7142,8319:udp,9623")?;
        scene.assert_opens(target)?;
        let mut session = Session::open(scene.guest(), target)?;
        scene.assert_closes(target)?;
        session.echo("still in")
    })
}
