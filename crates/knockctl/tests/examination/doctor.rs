//! What the doctor finds, and that what it says helps.

use std::io;

use lab::Signal;

use crate::support::{NATIVE, NEIGHBOURS, SOON, Scene};

fn nft(rules: &str) -> String {
    format!(
        "nft -f - <<'END'
table inet filter {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iif lo accept
        {NEIGHBOURS}
        {rules}
    }}
}}
END"
    )
}

fn iptables(kind: &str) -> String {
    ["iptables", "ip6tables"]
        .map(|program| format!("{program}-{kind} -P INPUT DROP\n{program}-{kind} -A INPUT -i lo -j ACCEPT\n"))
        .join(&format!("ip6tables-{kind} -A INPUT -p ipv6-icmp -j ACCEPT\n"))
}

fn established(kind: &str) -> String {
    ["iptables", "ip6tables"]
        .map(|program| {
            format!("{program}-{kind} -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n")
        })
        .concat()
}

const UFW_LIKE: &str = "
for program in iptables ip6tables; do
    $program -N ufw-before-input
    $program -N ufw-user-input
    $program -A INPUT -j ufw-before-input
    $program -A ufw-before-input -i lo -j ACCEPT
    $program -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $program -A ufw-before-input -m conntrack --ctstate INVALID -j DROP
    $program -A ufw-before-input -j ufw-user-input
    $program -A ufw-user-input -p tcp --dport 80 -j ACCEPT
    $program -P INPUT DROP
done
ip6tables -I ufw-before-input -p ipv6-icmp -j ACCEPT";

#[test]
fn a_healthy_host_has_no_problem() -> io::Result<()> {
    let healthy = [
        String::new(),
        nft("ct state established,related accept"),
        nft("ct state vmap { established : accept, related : accept, invalid : drop }"),
        iptables("nft") + &established("nft"),
        iptables("legacy") + &established("legacy"),
        UFW_LIKE.to_owned(),
    ];
    for firewall in healthy {
        let scene = Scene::new(&firewall, NATIVE)?;
        assert_eq!(scene.problems()?, [] as [&str; 0], "{firewall}\n{:#?}", scene.doctor()?);
    }
    Ok(())
}

#[test]
fn it_changes_nothing() -> io::Result<()> {
    let scene = Scene::new(&nft("ct state established,related accept"), NATIVE)?;
    let state = || scene.server().sh("nft -s list ruleset; ip -br link; ip route show table all");
    let before = state()?;
    scene.doctor()?;
    assert_eq!(state()?, before);
    scene.assert_clean()
}

#[test]
fn no_rule_for_established_connections() -> io::Result<()> {
    let firewalls = [
        (nft(""), "inet filter input"),
        (iptables("nft"), "INPUT (iptables)"),
        (iptables("legacy"), "INPUT (iptables-legacy)"),
    ];
    for (firewall, chain) in firewalls {
        let scene = Scene::new(&firewall, NATIVE)?;
        let finding = scene.finding("no-established-rule")?;
        assert!(finding.found.contains(chain), "{finding:?}");
        scene.cure("no-established-rule")?;
        assert_eq!(scene.problems()?, [] as [&str; 0], "{firewall}");
    }
    Ok(())
}

#[test]
fn the_accept_rule_is_the_administrators() -> io::Result<()> {
    let config = format!("[options]\naccept_rule = none\n{NATIVE}");
    let firewalls = [
        nft("ct state established,related accept"),
        iptables("nft") + &established("nft"),
        iptables("legacy") + &established("legacy"),
    ];
    for firewall in firewalls {
        let scene = Scene::new(&firewall, &config)?;
        assert_eq!(scene.problems()?, ["no-accept-rule"], "{firewall}");
        scene.cure("no-accept-rule")?;
        assert_eq!(scene.problems()?, [] as [&str; 0], "{firewall}");
    }
    Ok(())
}

#[test]
fn a_drop_before_the_accept_rule() -> io::Result<()> {
    let config = format!("[options]\naccept_rule = none\n{NATIVE}");
    let mark = "meta mark & 0x10000000 == 0x10000000 accept";
    let firewall = nft(&format!("ct state established,related accept\ntcp dport 20-25 drop\n{mark}"));
    let scene = Scene::new(&firewall, &config)?;
    let finding = scene.finding("drop-before-accept")?;
    assert!(finding.found.contains("tcp dport 20-25 drop"), "{finding:?}");
    scene.cure("drop-before-accept")?;
    Ok(())
}

#[test]
fn a_drop_where_no_mark_is_seen() -> io::Result<()> {
    let raw = "nft add table ip raw
        nft add chain ip raw early '{ type filter hook prerouting priority raw; }'
        nft add rule ip raw early tcp dport 22 tcp flags syn / syn,ack drop";
    let scene = Scene::new(raw, NATIVE)?;
    let finding = scene.finding("dropped-early")?;
    assert!(finding.found.starts_with("ip raw early drops 22/tcp"), "{finding:?}");
    scene.cure("dropped-early")?;
    let by_state = "nft flush chain ip raw early
        nft add rule ip raw early ct state established accept
        nft add rule ip raw early tcp dport 22 drop";
    scene.server().sh(by_state)?;
    let finding = scene.finding("no-established-rule")?;
    assert!(!finding.remedy.concat().contains("ct state"), "{finding:?}");
    scene.cure("no-established-rule")?;
    assert_eq!(scene.problems()?, [] as [&str; 0]);
    assert!(scene.trial("ssh")?.0, "so it is");
    Ok(())
}

#[test]
fn a_published_port_that_no_door_guards() -> io::Result<()> {
    let publish = "nft add table ip nat
        nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }'
        nft add rule ip nat pre tcp dport 8080 dnat to 172.17.0.2:22";
    let scene = Scene::new(publish, NATIVE)?;
    let finding = scene.finding("published-unguarded")?;
    assert!(finding.found.starts_with("8080/tcp is published to port 22 of 172.17.0.2"), "{finding:?}");
    assert!(finding.severity == "warning" && finding.remedy[0].ends_with("open = 8080/tcp"), "{finding:?}");
    Ok(())
}

#[test]
fn a_daemon_that_passes_over_ipv6() -> io::Result<()> {
    let scene = Scene::with_arguments("", NATIVE, &["-4"])?;
    assert_eq!(scene.finding("deaf-to-ipv6")?.severity, "note");
    let (works, steps) = scene.trial("ssh")?;
    let told = steps.iter().any(|step| step == "IPv6 unknown: not tried: knockd passes over IPv6 (-4)");
    assert!(works && told, "{steps:#?}");
    Ok(())
}

#[test]
fn a_port_that_nobody_guards() -> io::Result<()> {
    let config = format!("[options]\nguard = no\n{NATIVE}");
    let scene = Scene::new(&nft("ct state established,related accept\ntcp dport ssh accept"), &config)?;
    assert_eq!(scene.problems()?, ["open-without-knock", "reached-without-knock"]);
    let finding = scene.finding("open-without-knock")?;
    assert!(finding.found.contains("\"tcp dport 22 accept\" in chain inet filter input"), "{finding:?}");
    let finding = scene.finding("reached-without-knock")?;
    assert!(finding.found.contains("the connection was made"), "{finding:?}");
    Ok(())
}

#[test]
fn a_table_that_somebody_deleted() -> io::Result<()> {
    let mut scene = Scene::new("", NATIVE)?;
    scene.daemon().kill()?;
    assert_eq!(scene.problems()?, ["not-running"], "the kernel guards without the daemon");
    scene.server().sh("nft delete table inet knockd")?;
    assert_eq!(scene.problems()?, ["not-running", "table-missing", "reached-without-knock"]);
    Ok(())
}

#[test]
fn a_daemon_that_does_not_put_it_back() -> io::Result<()> {
    let mut scene = Scene::new("", NATIVE)?;
    scene.server().sh("nft flush ruleset")?;
    scene.daemon().wait_for_line("put back", SOON)?;
    assert_eq!(scene.problems()?, [] as [&str; 0]);
    scene.daemon().signal(Signal::TERM)?;
    scene.daemon().wait_exit(SOON)?;
    assert_eq!(scene.problems()?, ["not-running"]);
    Ok(())
}

#[test]
fn another_port_leads_there() -> io::Result<()> {
    let redirect = "nft add table ip nat
        nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }'
        nft add rule ip nat pre tcp dport 2222 redirect to :22";
    let scene = Scene::new(redirect, NATIVE)?;
    assert_eq!(scene.problems()?, ["way-around"]);
    assert!(scene.lab.client().probe(scene.server().at4(2222)) == lab::PortState::Open, "so it is");
    Ok(())
}

#[test]
fn interfaces_that_hear_nothing() -> io::Result<()> {
    let scene = Scene::new("", NATIVE)?;
    scene.server().ip("address flush dev eth0")?;
    assert!(scene.finding("interface-deaf")?.found.contains("eth0 has no address"));
    scene.server().ip("link set eth0 down")?;
    assert!(scene.finding("interface-deaf")?.found.contains("eth0 is down"));
    scene.server().ip("link delete eth0")?;
    assert!(scene.finding("interface-missing")?.found.contains("there is no interface eth0"));
    Ok(())
}

#[test]
fn a_configuration_that_was_changed_since() -> io::Result<()> {
    let mut scene = Scene::new("", NATIVE)?;
    let changed = NATIVE.replace("15623", "16623");
    scene.daemon().write_config(&format!("[options]\nInterface = eth0\n{changed}"))?;
    assert!(scene.finding("changed-since")?.found.ends_with("door ssh, Sequence"));
    scene.daemon().write_config("[ssh]\nSequenz = 1\n")?;
    assert_eq!(scene.problems()?, ["configuration"]);
    Ok(())
}

#[test]
fn a_door_with_commands_and_no_firewall() -> io::Result<()> {
    let config = "[ssh]\nsequence = 17142,8319:udp,15623,9214:udp\ntcpflags = syn\n\
         start_command = iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n";
    let scene = Scene::new("", config)?;
    assert_eq!(scene.problems()?, ["open-without-knock"]);
    let closed = "iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
        iptables -A INPUT -p tcp --dport 22 -j DROP";
    scene.server().sh(closed)?;
    assert_eq!(scene.problems()?, ["open-by-ipv6"]);
    Ok(())
}
