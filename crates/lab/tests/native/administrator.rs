//! `knockctl` and the running daemon.

use std::io;
use std::process::{Command, Output};
use std::time::Instant;

use lab::{Daemon, PortState, Process, wait_until};

use crate::support::{LONG, SOON, SSH, Scene, address_like, assert_shut, knock, side_by_side, succeed};

/// How long an unconfirmed configuration stays in force, in seconds.
const CONFIRM: &str = "3";

fn knockctl(daemon: &Daemon, arguments: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(lab::binary("knockctl")?);
    command.arg("-s").arg(daemon.directory().path().join("knockd.sock")).args(arguments);
    command.env_remove("SSH_CONNECTION");
    Ok(command)
}

fn order(scene: &Scene, daemon: &Daemon, arguments: &[&str]) -> io::Result<String> {
    succeed(scene.server(), &mut knockctl(daemon, arguments)?)
}

fn refused(scene: &Scene, daemon: &Daemon, arguments: &[&str]) -> io::Result<String> {
    let output = scene.server().output(&mut knockctl(daemon, arguments)?)?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    Ok(text(&output))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

pub(crate) fn opens_and_closes_by_hand() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    scene.keeping_out(&scene.ssh(), || {
        side_by_side(scene.ssh(), |target| {
            let guest = address_like(scene.guest(), target).to_string();
            scene.assert_shut(target);
            order(&scene, &daemon, &["open", "long", &guest])?;
            scene.assert_opens(target)?;
            let grants = order(&scene, &daemon, &["grants"])?;
            assert!(grants.contains(&guest) && grants.contains("by hand"), "{grants}");
            order(&scene, &daemon, &["close", "long", &guest])?;
            scene.assert_closes(target)?;
            order(&scene, &daemon, &["open", "long", &guest, "--for", "1.5s"])?;
            scene.assert_opens(target)?;
            scene.assert_closes(target)?;
            order(&scene, &daemon, &["open", "long", &guest])?;
            scene.assert_opens(target)?;
            order(&scene, &daemon, &["close", &guest])?;
            scene.assert_closes(target)?;
            // What is open may be made shorter.
            scene.knock(target.ip(), &LONG)?;
            scene.assert_opens(target)?;
            order(&scene, &daemon, &["open", "long", &guest, "--for", "1s"])?;
            scene.assert_closes(target)
        })
    })?;
    let said = refused(&scene, &daemon, &["close", "long", "10.9.1.1"])?;
    assert!(said.contains("nothing of long is open for 10.9.1.1"), "{said}");
    let said = refused(&scene, &daemon, &["open", "lang", "10.9.1.1"])?;
    assert!(said.contains("there is no door \"lang\""), "{said}");
    Ok(())
}

pub(crate) fn closes_all() -> io::Result<()> {
    let scene = Scene::with_clients(3)?;
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    let target = scene.ssh4();
    scene.knock(target.ip(), &LONG)?;
    knock(scene.third(), target.ip(), LONG.ports)?;
    scene.assert_opens(target)?;
    scene.third().wait_until_open(target, SOON)?;
    let said = order(&scene, &daemon, &["close", "--all"])?;
    assert!(said.contains("2 grants"), "{said}");
    scene.assert_closes(target)?;
    assert_shut(&[scene.third()], target);
    Ok(())
}

pub(crate) fn tells_how_it_is() -> io::Result<()> {
    let scene = Scene::new()?;
    scene.server().nft(
        "table inet filter { chain input { type filter hook input priority 0; policy drop;
         ct state established,related accept; meta l4proto ipv6-icmp accept; }; }",
    )?;
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    let status = order(&scene, &daemon, &["status", "--json"])?;
    for part in [r#""table":"in_place""#, r#""guard":true"#, "inet filter input", r#""state":"in_place""#] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
    order(&scene, &daemon, &["status"])?;
    let doors = order(&scene, &daemon, &["doors"])?;
    assert!(doors.contains("22/tcp") && !doors.contains("4711"), "{doors}");
    assert!(order(&scene, &daemon, &["doors", "--secrets"])?.contains("4711"));

    knock(scene.guest(), scene.server().ip4(), "4711 5201:udp")?;
    daemon.wait_for_line("long: Stage 2", SOON)?;
    let attempts = order(&scene, &daemon, &["attempts"])?;
    assert!(attempts.contains("10.9.1.1"), "{attempts}");
    // The first port again in the third one's place.
    knock(scene.guest(), scene.server().ip4(), "5201:udp 4711 3306")?;
    wait_until("an explanation", SOON, || {
        order(&scene, &daemon, &["explain", "10.9.1.1"])
            .is_ok_and(|said| said.contains("a wrong port behind knock") && !said.contains("3306"))
    })
}

pub(crate) fn watches() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&SSH.section("open = 22/tcp"))?;
    let path = daemon.directory().path().join("watched");
    let mut command = knockctl(&daemon, &["watch"])?;
    command.stdout(std::fs::File::create(&path)?);
    let mut watcher: Process = scene.server().spawn(&mut command)?;
    let watched = || daemon.file("watched");
    // It may not watch yet when the first knock comes.
    wait_until("word of an opening", SOON, || {
        let _ = scene.knock(scene.server().ip4(), &SSH);
        watched().contains("opened for")
    })?;
    wait_until("word of the closing", SOON, || watched().contains("closed: its time is over"))?;
    drop(daemon);
    let status = watcher.wait_exit(SOON)?;
    assert_eq!(status.code(), Some(1));
    Ok(())
}

/// A configuration that locks out, until it goes by itself.
pub(crate) fn what_is_not_confirmed_goes_back() -> io::Result<()> {
    let scene = Scene::new()?;
    let target = scene.ssh4();
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    let others = LONG.section("open = 22/tcp\nallow_from = 10.9.200.0/24");
    daemon.write_config(&format!("[options]\n{others}"))?;
    scene.keeping_out(&scene.ssh(), || {
        let mut reload = knockctl(&daemon, &["reload", "--confirm", CONFIRM])?;
        reload.env("SSH_CONNECTION", "10.9.1.1 50000 10.9.0.1 22");
        let asked = Instant::now();
        let said = succeed(scene.server(), &mut reload)?;
        assert!(said.contains("10.9.1.1") && said.contains("no way in to port 22"), "{said}");
        assert!(said.contains("knockctl confirm"), "{said}");
        let pending = order(&scene, &daemon, &["status", "--json"])?;
        assert!(!pending.contains(r#""pending_confirmation_seconds":null"#), "{pending}");
        let back = daemon.wait_for_line("the configuration was not confirmed in time", SOON)?;
        assert!((back.at - asked).as_secs_f64() >= 3.0, "back after {:?}", back.at - asked);
        scene.knock(target.ip(), &LONG)?;
        scene.assert_opens(target)
    })?;
    let said = refused(&scene, &daemon, &["confirm"])?;
    assert!(said.contains("no configuration waits to be confirmed"), "{said}");
    Ok(())
}

/// Until then the new configuration is in force.
pub(crate) fn what_is_not_confirmed_is_in_force_for_a_while() -> io::Result<()> {
    let scene = Scene::new()?;
    let target = scene.ssh4();
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    daemon.write_config(&format!("[options]\nguard = no\n{}", LONG.section("open = 22/tcp")))?;
    scene.assert_shut(target);
    let said = order(&scene, &daemon, &["reload", "--confirm", CONFIRM])?;
    assert!(!said.contains("warning"), "{said}");
    scene.stranger().wait_until_port(target, PortState::Open, SOON)?;
    scene.stranger().wait_until_closed(target, SOON)?;
    daemon.wait_for_line("the configuration was not confirmed in time", SOON)?;
    Ok(())
}

pub(crate) fn what_is_confirmed_stays() -> io::Result<()> {
    let scene = Scene::new()?;
    let web = lab::Service::start(scene.server(), 80)?;
    let target = scene.server().at4(80);
    let daemon = scene.knockd(&SSH.section("open = 22/tcp"))?;
    daemon.write_config(&format!("[options]\n{}", SSH.section("open = 22/tcp, 80/tcp")))?;
    let mut reload = knockctl(&daemon, &["reload", "--confirm", CONFIRM])?;
    reload.env("SSH_CONNECTION", "10.9.1.1 50000 10.9.0.1 22");
    let said = succeed(scene.server(), &mut reload)?;
    assert!(!said.contains("no way in"), "{said}");
    order(&scene, &daemon, &["confirm"])?;
    // Longer than it would have waited.
    let mark = Instant::now();
    wait_until("the time for confirming", SOON, || mark.elapsed().as_secs_f64() > 3.5)?;
    assert!(!daemon.text().contains("not confirmed"), "{}", daemon.text());
    scene.assert_shut(target);
    scene.knock(target.ip(), &SSH)?;
    scene.assert_opens(target)?;
    drop(web);
    Ok(())
}

pub(crate) fn a_file_that_cannot_be_used_is_told_to_whoever_asked() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&SSH.section("open = 22/tcp"))?;
    daemon.write_config(&format!("[options]\n{}", SSH.section("open = 22/icmp")))?;
    let said = refused(&scene, &daemon, &["reload", "--confirm", CONFIRM])?;
    assert!(said.contains("knockd.conf:6:"), "{said}");
    scene.assert_shut(scene.ssh4());
    scene.knock(scene.server().ip4(), &SSH)?;
    scene.assert_opens(scene.ssh4())
}

/// As sudo leaves it: the variable is gone, but a shell further up has it.
pub(crate) fn where_sudo_has_hidden_from_where_they_come() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    let others = LONG.section("open = 22/tcp\nallow_from = 10.9.200.0/24");
    daemon.write_config(&format!("[options]\n{others}"))?;
    let reload = knockctl(&daemon, &["reload", "--confirm", "600"])?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "env -u SSH_CONNECTION \"$@\"; exit $?", "sh"]).arg(reload.get_program());
    shell.args(reload.get_args()).env("SSH_CONNECTION", "fd09::1:1 50000 fd09::1 22");
    let said = succeed(scene.server(), &mut shell)?;
    assert!(said.contains("fd09::1:1") && said.contains("no way in to port 22"), "{said}");
    Ok(())
}
