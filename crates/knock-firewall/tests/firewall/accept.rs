//! Other people's firewalls, and the rule in them that accepts whom a door lets in.

use std::io;
use std::os::fd::AsFd as _;

use knock_core::config::DEFAULT_MARK;
use knock_firewall::accept::{self, Place, State};
use knock_firewall::{News, Table, Upkeep};
use lab::{Host, Lab, PortState, Service, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::{SOON, close, gate, guarded, open, table_with};

fn upkeep(host: &Host) -> Upkeep {
    let upkeep = host.run(|| Upkeep::start(DEFAULT_MARK).unwrap());
    assert!(upkeep.wait_for_first(SOON * 4), "the first check ends");
    upkeep
}

/// Waits for the bell.
fn next_news(upkeep: &Upkeep) -> io::Result<Vec<News>> {
    let mut ready = [PollFd::new(upkeep, PollFlags::IN)];
    assert_eq!(poll(&mut ready, Some(&Timespec { tv_sec: 10, tv_nsec: 0 }))?, 1, "word comes");
    Ok(upkeep.news())
}

fn states(places: &[Place]) -> Vec<(&str, State)> {
    let mut states: Vec<_> = places.iter().map(|place| (place.place.as_str(), place.state)).collect();
    states.sort_by_key(|(place, _)| *place);
    states
}

fn look(host: &Host) -> Vec<Place> {
    host.run(|| accept::look(DEFAULT_MARK).unwrap())
}

fn count(host: &Host, command: &str) -> io::Result<usize> {
    Ok(host
        .sh(command)?
        .lines()
        .filter(|line| line.contains("knockd") && line.contains("0x10000000"))
        .count())
}

/// What somebody has made on the server, and whether the door works in it, for both families.
struct Scene {
    lab: Lab,
    table: Table,
    _ssh: Service,
}

impl Scene {
    fn new(firewall: &str) -> io::Result<Self> {
        let lab = Lab::pair()?;
        let server = lab.server();
        let ssh = Service::start(server, 22)?;
        server.sh(firewall)?;
        let table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
        Ok(Self { lab, table, _ssh: ssh })
    }

    fn server(&self) -> &Host {
        self.lab.server()
    }

    fn assert_door_works(&mut self) {
        let (server, client) = (self.lab.server(), self.lab.client());
        for (target, source) in [(server.at4(22), client.ip4()), (server.at6(22), client.ip6())] {
            assert_ne!(client.probe(target), PortState::Open, "{target} before it opens");
            open(&mut self.table, "ssh", source, None);
            assert_eq!(client.probe(target), PortState::Open, "{target}");
            close(&mut self.table, "ssh", source);
            assert_ne!(client.probe(target), PortState::Open, "{target} closed");
        }
    }
}

const NEIGHBOURS: &str = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";

fn nft(rules: &str) -> String {
    format!("cat <<'END' | nft -f -\n{rules}\nEND")
}

fn dropping() -> String {
    nft(&format!(
        "table inet filter {{
            chain input {{
                type filter hook input priority 0; policy drop;
                ct state vmap {{ established : accept, related : accept, invalid : drop }}
                {NEIGHBOURS}
            }}
            chain forward {{ type filter hook forward priority 0; policy accept; }}
        }}"
    ))
}

#[test]
fn nftables_with_a_policy() -> io::Result<()> {
    let mut scene = Scene::new(&dropping())?;
    assert_eq!(
        states(&look(scene.server())),
        [("inet filter forward", State::NotNeeded), ("inet filter input", State::Missing)]
    );
    let upkeep = upkeep(scene.server());
    assert_eq!(upkeep.news(), [News::Added("inet filter input".into())]);
    assert_eq!(
        states(&upkeep.state()),
        [("inet filter forward", State::NotNeeded), ("inet filter input", State::Present)]
    );
    assert!(!upkeep.needs_polling());
    scene.assert_door_works();
    Ok(())
}

#[test]
fn what_look_says_to_type_works() -> io::Result<()> {
    for firewall in [
        dropping(),
        "iptables-nft -P INPUT DROP; ip6tables-nft -P INPUT DROP".into(),
        "iptables-legacy -P INPUT DROP; ip6tables-legacy -P INPUT DROP".into(),
    ] {
        let host = Host::new("server")?;
        host.sh(&firewall)?;
        let missing: Vec<_> = look(&host).into_iter().filter(|place| place.state == State::Missing).collect();
        assert!(!missing.is_empty(), "{firewall}");
        for place in missing {
            host.sh(&place.message.unwrap())?;
        }
        let left = look(&host);
        assert!(left.iter().all(|place| place.state != State::Missing), "{firewall}: {left:?}");
        assert!(upkeep(&host).news().is_empty());
        assert!(host.run(accept::remove_all).unwrap() > 0);
        assert!(look(&host).iter().any(|place| place.state == State::Missing), "{firewall}");
    }
    Ok(())
}

#[test]
fn nftables_with_a_last_rule_that_drops() -> io::Result<()> {
    let mut scene = Scene::new(&nft(&format!(
        "table ip6 six {{ chain in {{ type filter hook input priority 5;
            {NEIGHBOURS}
            ct state established,related accept
            counter drop
        }}
        }}
        table ip four {{ chain in {{ type filter hook input priority 5;
            ct state established,related accept
            counter reject with tcp reset
        }}
        }}"
    )))?;
    let upkeep = upkeep(scene.server());
    assert_eq!(states(&upkeep.state()), [("ip four in", State::Present), ("ip6 six in", State::Present)]);
    scene.assert_door_works();
    Ok(())
}

#[test]
fn nftables_with_a_jump_to_a_chain_that_rejects() -> io::Result<()> {
    let mut scene = Scene::new(&nft(&format!(
        "table inet f {{
            chain refuse {{ limit rate 5/second log
                reject with icmpx admin-prohibited; }}
            chain zone {{ {NEIGHBOURS}
                ct state established,related accept
                goto refuse; }}
            chain in {{ type filter hook input priority 10; iif != \"lo\" jump zone; }}
        }}"
    )))?;
    let upkeep = upkeep(scene.server());
    assert_eq!(states(&upkeep.state()), [("inet f in", State::Present)]);
    scene.assert_door_works();
    Ok(())
}

fn iptables_scene(kind: &str) -> io::Result<Scene> {
    Scene::new(&format!(
        "for iptables in iptables-{kind} ip6tables-{kind}; do
            $iptables -P INPUT DROP
            $iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
            $iptables -A INPUT -m conntrack --ctstate INVALID -j DROP
            $iptables -A INPUT -p icmp -j ACCEPT
        done
        ip6tables-{kind} -A INPUT -p ipv6-icmp -j ACCEPT"
    ))
}

#[test]
fn iptables_of_nftables() -> io::Result<()> {
    let mut scene = iptables_scene("nft")?;
    let upkeep = upkeep(scene.server());
    assert_eq!(
        states(&upkeep.state()),
        [("ip filter INPUT", State::Present), ("ip6 filter INPUT", State::Present)]
    );
    scene.assert_door_works();
    for version in ["ip", "ip6"] {
        let listed = scene.server().sh(&format!("{version}tables-nft -L INPUT -n 2>&1"))?;
        assert!(listed.contains("mark match 0x10000000/0x10000000 /* knockd */"), "{listed}");
        let saved = scene.server().sh(&format!("{version}tables-nft-save 2>&1"))?;
        let rule = "-A INPUT -m mark --mark 0x10000000/0x10000000 -m comment --comment knockd -j ACCEPT";
        assert_eq!(saved.matches(rule).count(), 1, "{saved}");
        scene.server().sh(&format!("{version}tables-nft-save | {version}tables-nft-restore"))?;
    }
    assert!(look(scene.server()).iter().all(|place| place.state != State::Missing));
    Ok(())
}

#[test]
fn a_table_that_only_looks_like_one_of_iptables() -> io::Result<()> {
    let host = Host::new("server")?;
    host.sh(&nft(
        "table ip filter {
            set banned { type ipv4_addr; flags interval; }
            map states { type ct_state : verdict; elements = { established : accept, invalid : drop }; }
            chain INPUT { type filter hook input priority 0; policy drop;
                ip saddr @banned drop
                ct state vmap @states
            }
        }
        table ip nat { chain in { type nat hook input priority 100; policy drop; }; }
        table netdev early { chain in { type filter hook ingress device lo priority 0; policy accept; }; }",
    ))?;
    let upkeep = upkeep(&host);
    assert_eq!(upkeep.news(), [News::Added("ip filter INPUT".into())]);
    assert_eq!(states(&look(&host)), [("ip filter INPUT", State::Present)]);
    Ok(())
}

#[test]
fn iptables_of_old() -> io::Result<()> {
    let mut scene = iptables_scene("legacy")?;
    let upkeep = upkeep(scene.server());
    assert!(upkeep.needs_polling());
    let present = |name| (name, State::Present);
    let unneeded = |name| (name, State::NotNeeded);
    let [forward4, input4, forward6, input6] = [
        "iptables-legacy filter FORWARD",
        "iptables-legacy filter INPUT",
        "ip6tables-legacy filter FORWARD",
        "ip6tables-legacy filter INPUT",
    ];
    assert_eq!(
        states(&upkeep.state()),
        [unneeded(forward6), present(input6), unneeded(forward4), present(input4)]
    );
    scene.assert_door_works();
    scene.server().sh("iptables-legacy -F INPUT; iptables-legacy -A INPUT -j DROP; iptables-legacy -A INPUT -m mark --mark 0x10000000/0x10000000 -m comment --comment knockd -j ACCEPT")?;
    let _ = upkeep.news();
    upkeep.check();
    wait_until("the rule is put back", SOON, || {
        count(scene.server(), "iptables-legacy -S INPUT | head -n 2").unwrap() == 1
    })?;
    wait_until("the old one goes", SOON, || count(scene.server(), "iptables-legacy -S").unwrap() == 1)?;
    assert_eq!(next_news(&upkeep)?, [News::PutBack(input4.into())]);
    Ok(())
}

#[test]
fn the_legacy_tables_stay_unloaded_where_nobody_uses_them() -> io::Result<()> {
    let host = Host::new("server")?;
    drop(upkeep(&host));
    let names = host.sh("cat /proc/thread-self/net/ip_tables_names /proc/thread-self/net/ip6_tables_names 2>/dev/null || true")?;
    assert_eq!(names, "");
    Ok(())
}

/// The shape of ufw's chains.
#[test]
fn ufw_like() -> io::Result<()> {
    let mut scene = Scene::new(
        "for v in '' 6; do for b in iptables; do ipt=ip${v}tables-nft
            $ipt -P INPUT DROP; $ipt -P FORWARD DROP
            for chain in before after reject; do $ipt -N ufw$v-$chain-input; $ipt -A INPUT -j ufw$v-$chain-input; done
            $ipt -A ufw$v-before-input -i lo -j ACCEPT
            $ipt -A ufw$v-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
            $ipt -A ufw$v-before-input -m conntrack --ctstate INVALID -j DROP
        done; done
        ip6tables-nft -A ufw6-before-input -p ipv6-icmp -j ACCEPT",
    )?;
    let upkeep = upkeep(scene.server());
    let places = ["ip filter FORWARD", "ip filter INPUT", "ip6 filter FORWARD", "ip6 filter INPUT"];
    assert_eq!(states(&upkeep.state()), places.map(|place| (place, State::Present)));
    scene.assert_door_works();
    Ok(())
}

#[test]
fn dockers_chain_is_for_users() -> io::Result<()> {
    for kind in ["nft", "legacy"] {
        let host = Host::new("server")?;
        host.sh(&format!(
            "ipt=iptables-{kind}
            $ipt -P FORWARD DROP
            $ipt -N DOCKER-USER; $ipt -N DOCKER
            $ipt -A FORWARD -j DOCKER-USER; $ipt -A FORWARD -o docker0 -j DOCKER
            $ipt -A DOCKER-USER -j RETURN
            $ipt -A DOCKER -i eth0 -j DROP"
        ))?;
        let upkeep = upkeep(&host);
        assert_eq!(count(&host, &format!("iptables-{kind} -S DOCKER-USER"))?, 1);
        assert_eq!(count(&host, &format!("iptables-{kind} -S"))?, 1);
        // As Docker does when it starts.
        host.sh(&format!(
            "iptables-{kind} -D FORWARD -j DOCKER-USER; iptables-{kind} -I FORWARD -j DOCKER-USER"
        ))?;
        assert!(look(&host).iter().all(|place| place.state != State::Missing));
        // Where Docker's chain is not reached first, it is of no use.
        host.sh(&format!("iptables-{kind} -I FORWARD -i eth0 -j DROP"))?;
        upkeep.check();
        wait_until("the rule comes first", SOON, || {
            count(&host, &format!("iptables-{kind} -S FORWARD 1")).unwrap() == 1
        })?;
    }
    Ok(())
}

#[test]
fn what_a_reload_wipes_is_put_back() -> io::Result<()> {
    let mut scene = Scene::new(&dropping())?;
    let upkeep = upkeep(scene.server());
    let _ = upkeep.news();
    let mut ready = [PollFd::new(&upkeep, PollFlags::IN)];
    assert_eq!(poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?, 0, "no news rings");
    scene.server().sh(&format!("nft flush ruleset; {}", dropping()))?;
    upkeep.check();
    assert_eq!(next_news(&upkeep)?, [News::PutBack("inet filter input".into())]);
    let layout = guarded([gate("ssh", "22/tcp")]);
    scene.table.replace(&layout, &[]).unwrap();
    scene.assert_door_works();
    Ok(())
}

#[test]
fn checking_again_changes_nothing() -> io::Result<()> {
    let host = Host::new("server")?;
    host.sh(&format!("{}\niptables-nft -P FORWARD DROP; ip6tables-legacy -P INPUT DROP", dropping()))?;
    drop(upkeep(&host));
    let all = "nft -a list ruleset; ip6tables-legacy -S";
    let before = host.sh(all)?;
    // `nft` does not show the comment of a rule that iptables has made.
    assert_eq!(before.lines().filter(|line| line.contains("0x10000000")).count(), 3, "{before}");
    for _ in 0..3 {
        assert!(upkeep(&host).news().is_empty());
        assert_eq!(host.sh(all)?, before);
    }
    Ok(())
}

#[test]
fn rules_move_and_marks_change() -> io::Result<()> {
    let host = Host::new("server")?;
    host.sh(&nft("table inet f { chain in { type filter hook input priority 0; policy drop;
            tcp dport 80 accept
            meta mark & 0x10000000 == 0x10000000 accept comment \"knockd\"
            tcp dport 25 drop
            meta mark & 0x20000000 == 0x20000000 accept comment \"knockd\"
            meta mark & 0x40000000 == 0x40000000 accept comment \"mine\"
            tcp dport 7142 accept comment \"knockd\"
        }
        }"))?;
    assert!(upkeep(&host).news().is_empty(), "not first, but before whatever drops");
    let listed = host.sh("nft list ruleset")?;
    assert!(!listed.contains("0x20000000"), "another mark's goes: {listed}");
    assert!(listed.contains("\"mine\"") && listed.contains("7142 accept comment \"knockd\""), "{listed}");
    host.sh("nft insert rule inet f in tcp dport 26 drop")?;
    assert_eq!(upkeep(&host).news(), [News::Added("inet f in".into())]);
    assert_eq!(count(&host, "nft list ruleset")?, 1, "the old one goes");
    assert_eq!(count(&host, "nft list ruleset | grep -A1 'type filter'")?, 1, "the new one is first");
    assert_eq!(host.run(accept::remove_all).unwrap(), 1);
    assert_eq!(count(&host, "nft list ruleset")?, 0);
    Ok(())
}

#[test]
fn a_table_with_an_owner_is_told_of() -> io::Result<()> {
    let host = Host::new("server")?;
    for name in ["firewalld", "other"] {
        let rules = format!(
            "add table inet {name} {{ flags owner; }}\nadd chain inet {name} in {{ type filter hook input priority 0; policy drop; }}\n"
        );
        let mut owner = std::process::Command::new("nft");
        owner.arg("-i").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let mut owner = host.spawn(&mut owner)?;
        let mut input = owner.child().stdin.take().unwrap();
        io::Write::write_all(&mut input, rules.as_bytes())?;
        wait_until("the table is there", SOON, || !look(&host).is_empty())?;
        let upkeep = upkeep(&host);
        let [News::Failed { place, why }] = &upkeep.news()[..] else { panic!("no news") };
        assert_eq!(*place, format!("inet {name} in"));
        let expected = if name == "firewalld" { "NftablesTableOwner=no" } else { "flags owner" };
        assert!(why.contains(expected), "{why}");
        upkeep.check();
        drop(input);
        drop(owner);
        wait_until("the table goes with its owner", SOON, || look(&host).is_empty())?;
    }
    Ok(())
}

#[test]
fn it_ends_while_it_checks() -> io::Result<()> {
    let host = Host::new("server")?;
    host.sh("iptables-legacy -P INPUT DROP")?;
    for _ in 0..20 {
        let upkeep = host.run(|| Upkeep::start(DEFAULT_MARK).unwrap());
        upkeep.check();
        let _ = upkeep.as_fd();
    }
    Ok(())
}
