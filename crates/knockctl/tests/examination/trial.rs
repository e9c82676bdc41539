//! Trials of doors, and that nothing of them stays.

use std::io;
use std::process::Stdio;

use lab::Signal;

use crate::support::{NATIVE, SOON, Scene};

const DROPPING: &str = "nft -f - <<'END'
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        ct state established,related accept
    }
}
END";

fn has(steps: &[String], wanted: &str) -> bool {
    steps.iter().any(|step| step.contains(wanted))
}

#[test]
fn a_door_that_works() -> io::Result<()> {
    for firewall in ["", DROPPING] {
        let scene = Scene::new(firewall, NATIVE)?;
        let (works, steps) = scene.trial("ssh")?;
        assert!(works, "{steps:#?}");
        for family in ["IPv4", "IPv6"] {
            for step in [
                "22/tcp is closed before the knock",
                "knock 4 of 4 was heard",
                "opened for 2 s",
                "22/tcp: a connection was made",
                "closed: its time is over",
                "22/tcp is closed again",
                "22/tcp: the connection that was made goes on",
            ] {
                assert!(has(&steps, &format!("{family} ok: {step}")), "{family} {step}: {steps:#?}");
            }
        }
        scene.assert_clean()?;
    }
    Ok(())
}

#[test]
fn a_door_that_stays_open_long_is_closed() -> io::Result<()> {
    for lasting in ["open_for = 1h", ""] {
        let scene = Scene::new("", &NATIVE.replace("open_for = 2s", lasting))?;
        let (works, steps) = scene.trial("ssh")?;
        assert!(works && has(&steps, "closed by request"), "{steps:#?}");
        assert!(has(&steps, "IPv6 ok: 22/tcp is closed again"), "{steps:#?}");
        scene.assert_clean()?;
    }
    Ok(())
}

#[test]
fn a_firewall_that_drops_whom_the_door_lets_in() -> io::Result<()> {
    let scene = Scene::new(DROPPING, &format!("[options]\naccept_rule = none\n{NATIVE}"))?;
    let (works, steps) = scene.trial("ssh")?;
    assert!(!works, "{steps:#?}");
    assert!(has(&steps, "IPv4 failed: 22/tcp does not answer although the door is open"), "{steps:#?}");
    scene.assert_clean()
}

#[test]
fn a_port_that_is_open_anyway_and_one_that_nobody_serves() -> io::Result<()> {
    let config = format!("[options]\nguard = no\n{}", NATIVE.replace("22/tcp", "22/tcp, 23/tcp, 53/udp"));
    let scene = Scene::new("", &config)?;
    let (works, steps) = scene.trial("ssh")?;
    assert!(!works, "{steps:#?}");
    assert!(has(&steps, "IPv4 failed: 22/tcp is open without a knock"), "{steps:#?}");
    assert!(has(&steps, "23/tcp is open, but no service listens there"), "{steps:#?}");
    assert!(has(&steps, "IPv6 unknown: 53/udp"), "{steps:#?}");
    Ok(())
}

#[test]
fn a_door_with_commands() -> io::Result<()> {
    let config = "[ssh]\nsequence = 17142,8319:udp,15623,9214:udp\ntcpflags = syn\ncmd_timeout = 1\n\
         start_command = iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
         stop_command = iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
         start_command_6 = ip6tables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
         stop_command_6 = ip6tables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n";
    let firewall = "iptables -P INPUT DROP; ip6tables -A INPUT -p ipv6-icmp -j ACCEPT; ip6tables -P INPUT DROP
        iptables -A INPUT -m state --state ESTABLISHED -j ACCEPT; ip6tables -A INPUT -m state --state ESTABLISHED -j ACCEPT";
    let scene = Scene::new(firewall, config)?;
    let (works, steps) = scene.trial("ssh")?;
    assert!(works, "{steps:#?}");
    assert!(has(&steps, "IPv4 ok: knockd ran: iptables -I INPUT -s 198.1"), "{steps:#?}");
    assert!(has(&steps, "IPv6 ok: 22/tcp: a connection was made"), "{steps:#?}");
    assert!(has(&steps, "IPv6 ok: 22/tcp is closed again"), "{steps:#?}");
    scene.assert_clean()
}

#[test]
fn sessions_that_stand_still() -> io::Result<()> {
    let scene = Scene::new(&DROPPING.replace("ct state established,related accept", ""), NATIVE)?;
    let (works, steps) = scene.trial("ssh")?;
    assert!(!works, "{steps:#?}");
    for family in ["IPv4", "IPv6"] {
        let step = format!("{family} failed: 22/tcp: the connection that was made stands still");
        assert!(has(&steps, &step), "{steps:#?}");
    }
    scene.assert_clean()
}

#[test]
fn sessions_that_are_cut() -> io::Result<()> {
    let scene = Scene::new("", &format!("{NATIVE}established = cut\n"))?;
    let (works, steps) = scene.trial("ssh")?;
    assert!(works && has(&steps, "IPv6 ok: 22/tcp: the connection that was made is cut"), "{steps:#?}");
    Ok(())
}

#[test]
fn knocks_that_are_not_taken() -> io::Result<()> {
    let scene = Scene::new("", &NATIVE.replace("tcpflags = syn", "tcpflags = psh"))?;
    let (works, steps) = scene.trial("ssh")?;
    assert!(
        !works && has(&steps, "the door did not open") || has(&steps, "no knock was heard"),
        "{steps:#?}"
    );
    let scene = Scene::new("", &format!("{NATIVE}allow_from = 192.0.2.0/24, 2001:db8::/32\n"))?;
    let (works, steps) = scene.trial("ssh")?;
    assert!(
        !works && has(&steps, "IPv6 unknown: not tried: only 192.0.2.0/24, 2001:db8::/32 may knock"),
        "{steps:#?}"
    );
    scene.assert_clean()
}

#[test]
fn a_door_that_nobody_came_through_does_not_work() -> io::Result<()> {
    let verdicts = [
        (format!("{NATIVE}allow_from = 192.0.2.0/24\n"), "nothing was tried, so nothing is known of ssh."),
        (NATIVE.replace("22/tcp", "2222/tcp"), "ssh: the door opens, but nothing listens at 2222/tcp."),
        (
            NATIVE.replace("22/tcp", "53/udp"),
            "ssh opens, but no connection could be tried, so nothing is known of what is behind it.",
        ),
    ];
    for (config, verdict) in verdicts {
        let scene = Scene::new("", &config)?;
        assert_eq!(scene.verdict("ssh")?, (false, verdict.to_owned()), "{config}");
        let (works, steps) = scene.trial("ssh")?;
        assert!(!works && !has(&steps, " failed: "), "{steps:#?}");
        scene.assert_clean()?;
    }
    // One family is enough.
    let scene = Scene::new("", &format!("{NATIVE}allow_from = 198.18.0.0/15\n"))?;
    assert_eq!(scene.verdict("ssh")?, (true, "ssh works.".to_owned()));
    Ok(())
}

#[test]
fn a_daemon_that_nobody_can_knock_at() -> io::Result<()> {
    let scene = Scene::new("", NATIVE)?;
    for (change, step) in [
        ("address flush dev eth0", "knockd listens on eth0 alone, which is down or has no address"),
        ("link delete eth0", "knockd listens on no interface"),
    ] {
        scene.server().ip(change)?;
        lab::wait_until("knockd has taken notice", SOON, || {
            scene.trial("ssh").is_ok_and(|(works, steps)| !works && has(&steps, &format!("failed: {step}")))
        })?;
    }
    Ok(())
}

#[test]
fn doors_that_cannot_be_tried() -> io::Result<()> {
    let directory = lab::TempDir::new()?;
    let once = directory.write("once", " 7,8,9\n")?;
    let config = format!(
        "{NATIVE}[other]\nsequence = 1,2,3\ntarget = 192.0.2.20\ncommand = true\n\
         [once]\none_time_sequences = {}\ncommand = true\n",
        once.display()
    );
    let scene = Scene::new("", &config)?;
    for (door, why) in
        [("other", "another machine"), ("once", "use up"), ("none", "there is no door \"none\"")]
    {
        let output = scene.output(&format!("try {door}"))?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains(why), "{door}: {told}");
    }
    assert_eq!(std::fs::read_to_string(&once)?, " 7,8,9\n");
    scene.assert_clean()
}

#[test]
fn nothing_stays_of_a_trial_that_is_killed() -> io::Result<()> {
    for signal in [Signal::KILL, Signal::INT] {
        let scene = Scene::new("", &NATIVE.replace("open_for = 2s", "open_for = 1h"))?;
        let mut command = scene.knockctl("try --wait ssh");
        let mut trial = scene.server().spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        lab::wait_until("the door is open", SOON, || {
            scene
                .output("grants")
                .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("198.1"))
        })?;
        trial.signal(signal)?;
        trial.wait_exit(SOON)?;
        scene.assert_clean()?;
    }
    Ok(())
}

#[test]
fn two_trials_at_once() -> io::Result<()> {
    let scene = Scene::new("", NATIVE)?;
    let trials = std::thread::scope(|scope| {
        let trials: Vec<_> = (0..2).map(|_| scope.spawn(|| scene.trial("ssh"))).collect();
        trials.into_iter().map(|trial| trial.join().unwrap()).collect::<io::Result<Vec<_>>>()
    })?;
    assert!(trials.iter().all(|(works, _)| *works), "{trials:#?}");
    scene.assert_clean()
}

#[test]
fn only_root_may() -> io::Result<()> {
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_knockctl"), "try", "ssh"]);
    let output = command.output()?;
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("only root can do that: sudo knockctl try"),
        "{output:?}"
    );
    Ok(())
}
