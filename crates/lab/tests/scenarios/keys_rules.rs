//! Who may knock with a key, when, and for whom: the file of keys, the clocks, the addresses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use knock_core::spa::{Address, Request};
use lab::{PortState, wait_until};

use crate::keys::{DOOR, Server, User};
use crate::support::{SOON, count};

const SECOND: u64 = 1_000_000_000;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn stated(text: &str) -> impl Fn(&mut Request) {
    let address = address(text);
    move |request: &mut Request| request.address = Address::Stated(address)
}

#[test]
fn clocks_may_differ_by_two_minutes() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = Server::start(&alice.line())?;
    let guest = server.scene.guest().ip4();
    server.opens(&alice, guest, |request| request.time += 119 * SECOND)?;
    // As long as the machine takes less than a second for it.
    wait_until("a knock of 119 s before", SOON, || {
        let before = server.said("OPEN SESAME");
        server.knock_for(&alice, server.scene.guest(), |request| request.time -= 119 * SECOND).unwrap();
        wait_until("it", Duration::from_secs(2), || server.said("OPEN SESAME") > before).is_ok()
    })?;
    let reason = "s behind this server's clock, more than 120 s: is one of the clocks wrong";
    server.refuses(&alice, reason, |request| request.time -= 121 * SECOND)?;
    let log = server.daemon.log();
    assert!(
        log.contains("ssh: not opened: its time is 121 s behind") || log.contains("is 122 s behind"),
        "{log}"
    );
    let reason = "s ahead of this server's clock, more than 120 s: is one of the clocks wrong";
    server.refuses(&alice, reason, |request| request.time += 150 * SECOND)?;
    server.refuses(&alice, "s ahead of", |request| request.time = u64::MAX)?;
    server.refuses(&alice, "s behind", |request| request.time = 0)?;
    let explained = server.knockctl(&["explain", &guest.to_string()])?;
    assert!(explained.contains(reason), "{explained}");
    Ok(())
}

#[test]
fn the_file_of_keys_counts_as_it_is_at_the_moment() -> io::Result<()> {
    let (alice, bob) = (User::new("alice", 1), User::new("bob", 2));
    let server = Server::start(&alice.line())?;
    let guest = server.scene.guest().ip4();
    let unknown =
        |user: &User| format!("ssh: not opened: the door does not know the key {}", user.fingerprint());
    server.refuses(&bob, &unknown(&bob), |_| {})?;
    server.write("keys", &format!("{}{}", alice.line(), bob.line()))?;
    server.opens(&bob, guest, |_| {})?;
    server.daemon.wait_for_log("keys was read anew, keys: 2", SOON)?;
    server.write("keys", &bob.line())?;
    server.refuses(&alice, &unknown(&alice), |_| {})?;
    // A line with a mistake is told with its place, and costs nobody else anything.
    server.write(
        "keys",
        &format!(
            "{}\n{}{}",
            "ssh-ed25519 nonsense carol",
            alice.line(),
            bob.line_with("form=\"192.0.2.0/24\"")
        ),
    )?;
    server.opens(&alice, guest, |_| {})?;
    server.daemon.wait_for_log("keys:1:1: warning: ", SOON)?;
    server.daemon.wait_for_log("keys:3:1: warning: unknown option \"form\"", SOON)?;
    server.refuses(&bob, &unknown(&bob), |_| {})?;
    // What others can write lets nobody in, until it is made good.
    let path = server.daemon.directory().path().join("keys");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    server.refuses(&alice, &unknown(&alice), |_| {})?;
    server
        .daemon
        .wait_for_log("others can write into this file, so anybody could add a key: chmod go-w", SOON)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    server.opens(&alice, guest, |_| {})?;
    // Nor does one that is gone; it is told once.
    fs::remove_file(&path)?;
    server.refuses(&alice, &unknown(&alice), |_| {})?;
    server.refuses(&alice, &unknown(&alice), |_| {})?;
    assert_eq!(server.said("keys: there is no such file; until then nobody"), 1, "{}", server.daemon.log());
    server.write("keys", &alice.line())?;
    server.opens(&alice, guest, |_| {})?;
    Ok(())
}

/// As configuration managers and containers put files in place.
#[test]
fn a_link_to_the_file_is_followed() -> io::Result<()> {
    let (alice, bob) = (User::new("alice", 1), User::new("bob", 2));
    let server = Server::start(&alice.line())?;
    let guest = server.scene.guest().ip4();
    let directory = server.daemon.directory();
    directory.write("first", alice.line())?;
    directory.write("second", bob.line())?;
    let point_to = |name: &str| {
        symlink(directory.path().join(name), directory.path().join("link"))?;
        fs::rename(directory.path().join("link"), directory.path().join("keys"))
    };
    point_to("first")?;
    server.opens(&alice, guest, |_| {})?;
    point_to("second")?;
    server.opens(&bob, guest, |_| {})?;
    server.refuses(&alice, "the door does not know the key", |_| {})?;
    // It is the file that others must not be able to write.
    fs::set_permissions(directory.path().join("second"), fs::Permissions::from_mode(0o622))?;
    server.refuses(&bob, "the door does not know the key", |_| {})?;
    point_to("nothing")?;
    server.refuses(&bob, "the door does not know the key", |_| {})?;
    Ok(())
}

#[test]
fn a_key_s_line_says_what_it_may() -> io::Result<()> {
    let (alice, bob) = (User::new("alice", 1), User::new("bob", 2));
    let doors = format!("{DOOR}[web]\nauthorized_keys = {{dir}}/keys\nopen = 443/tcp\nopen_for = 100s\n");
    let server = Server::with_doors(&alice.line_with("expiry-time=\"20200101\""), &doors)?;
    let guest = server.scene.guest().ip4();
    server.refuses(&alice, "ssh: not opened: the time of the key SHA256:", |_| {})?;
    server.write("keys", &alice.line_with("expiry-time=\"20990101Z\""))?;
    server.opens(&alice, guest, |_| {})?;
    server.write("keys", &alice.line_with("from=\"192.0.2.0/24,!10.9.1.1\""))?;
    server.refuses(&alice, &format!("the key of alice is not for {guest} (from)"), |_| {})?;
    server.write("keys", &alice.line_with("from=\"10.9.0.0/16,!10.9.1.1\""))?;
    server.refuses(&alice, &format!("the key of alice is not for {guest} (from)"), |_| {})?;
    server.write("keys", &alice.line_with("from=\"10.9.1.1\""))?;
    server.opens(&alice, guest, |_| {})?;
    server.refuses(&alice, "the key of alice is not for 192.0.2.7 (from)", stated("192.0.2.7"))?;
    server.write(
        "keys",
        &format!("{}{}", alice.line_with("doors=\"web\""), bob.line_with("doors=\"ssh,web\"")),
    )?;
    server.refuses(&alice, "ssh: not opened: the key of alice is not for this door (doors)", |_| {})?;
    server.opens(&bob, guest, |_| {})?;
    server.knock_for(&alice, server.scene.guest(), |request| request.door = "web".into())?;
    server.daemon.wait_for_log("web: OPEN SESAME (alice)", SOON)?;
    server.refuses(&alice, "a knock: not opened: no door with keys is called \"mail\"", |request| {
        request.door = "mail".into();
    })?;
    Ok(())
}

#[test]
fn a_door_is_open_as_long_as_was_asked_for_and_the_key_may() -> io::Result<()> {
    let (alice, bob) = (User::new("alice", 1), User::new("bob", 2));
    let keys = format!("{}{}", alice.line(), bob.line_with("max-open=\"1h\""));
    let server = Server::start(&keys)?;
    let left = |user: &User, number: u8, asked: Option<u64>| {
        let address = IpAddr::from([192, 0, 2, number]);
        server.opens(user, address, |request| {
            request.address = Address::Stated(address);
            request.lasts = asked.map(Duration::from_secs);
        })?;
        let mut left = None;
        wait_until("the grant", SOON, || {
            left = server.left("ssh", &address.to_string()).ok().flatten();
            left.is_some()
        })?;
        Ok::<_, io::Error>(left.unwrap_or_default())
    };
    for (user, number, asked, expected) in [
        (&alice, 1, None, 100.0),
        (&alice, 2, Some(60), 60.0),
        (&alice, 3, Some(4_000_000_000), 100.0),
        (&bob, 4, None, 100.0),
        (&bob, 5, Some(1800), 1800.0),
        (&bob, 6, Some(7200), 3600.0),
    ] {
        let left = left(user, number, asked)?;
        assert!((expected - 25.0..=expected).contains(&left), "{asked:?}: {left} of {expected}");
    }
    Ok(())
}

#[test]
fn a_door_may_ask_for_the_address_in_the_knock() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = Server::with_doors(&alice.line(), &DOOR.replace("open_for", "address = match\nopen_for"))?;
    let guest = server.scene.guest().ip4();
    server.refuses(&alice, "the knock of alice states no address, which address = match demands", |_| {})?;
    server.refuses(
        &alice,
        "the knock of alice is for 192.0.2.7 and comes from elsewhere",
        stated("192.0.2.7"),
    )?;
    let knock = alice
        .knock(&Request { address: Address::Stated(guest), ..alice.request("ssh") }, server.host.public());
    // On its way it was taken, and is sent from elsewhere: it opens nothing there, and has not been used.
    server.refuses_bytes(server.scene.stranger(), &knock, &format!("the knock of alice is for {guest}"))?;
    server.opens(&alice, guest, stated(&guest.to_string()))?;
    server.scene.assert_opens(server.scene.ssh4())
}

#[test]
fn without_that_it_opens_for_whom_the_knock_says() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = Server::start(&alice.line())?;
    let stranger = server.scene.stranger().ip4();
    server.opens(&alice, stranger, stated(&stranger.to_string()))?;
    server.scene.stranger().wait_until_open(server.scene.ssh4(), SOON)?;
    assert_ne!(server.scene.guest().probe(server.scene.ssh4()), PortState::Open);
    Ok(())
}

#[test]
fn keys_open_for_ipv6_as_well() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = Server::with_doors(&alice.line(), &DOOR.replace("open_for", "widen = 24/56\nopen_for"))?;
    let guest = server.scene.guest();
    let knock = alice.knock(&alice.request("ssh"), server.host.public());
    server.send_to(guest, server.scene.server().ip6(), &knock)?;
    server.daemon.wait_for_log(&format!("{}: ssh: OPEN SESAME (alice)", guest.ip6()), SOON)?;
    guest.wait_until_open(server.scene.ssh6(), SOON)?;
    assert_ne!(guest.probe(server.scene.ssh4()), PortState::Open);
    assert!(server.left("ssh", "fd09::/56")?.is_some(), "{:?}", server.grants()?);
    server.opens(&alice, guest.ip4(), |_| {})?;
    wait_until("the network", SOON, || server.left("ssh", "10.9.1.0/24").is_ok_and(|left| left.is_some()))?;
    server.opens(&alice, address("2001:db8::7"), stated("2001:db8::7"))?;
    wait_until("that of IPv6", SOON, || server.left("ssh", "2001:db8::/56").is_ok_and(|left| left.is_some()))
}

#[test]
fn the_door_s_own_rules_hold_as_well() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let doors = "[ssh]\nauthorized_keys = {dir}/keys\nallow_from = 10.9.0.0/16, 192.0.2.0/24\nopen = 22/tcp\n\
                 open_for = 100s\n\
                 [router]\nauthorized_keys = {dir}/keys\nspa_port = 4711\ntarget = 10.9.0.77\n\
                 start_command = echo %IP% >> {dir}/told\n";
    let server = Server::with_doors(&alice.line(), doors)?;
    let guest = server.scene.guest();
    server.refuses(
        &alice,
        "the knock of alice is for 198.51.100.1, which the door is not for (allow_from)",
        stated("198.51.100.1"),
    )?;
    server.opens(&alice, address("192.0.2.7"), stated("192.0.2.7"))?;
    // By IPv6 nobody may come.
    let knock = alice.knock(&alice.request("ssh"), server.host.public());
    server.send_to(guest, server.scene.server().ip6(), &knock)?;
    server
        .daemon
        .wait_for_log(&format!("the knock of alice is for {}, which the door", guest.ip6()), SOON)?;
    // The other door is knocked at at another address, at whichever of the ports.
    server.refuses(
        &alice,
        &format!("router: not opened: the knock of alice went to {}", server.scene.server().ip4()),
        |request| {
            request.door = "router".into();
        },
    )?;
    server.scene.server().ip("addr add 10.9.0.77/16 dev eth0")?;
    let knock = alice.knock(&alice.request("router"), server.host.public());
    server.send_to(guest, address("10.9.0.77"), &knock)?;
    server.daemon.wait_for_log("router: OPEN SESAME (alice)", SOON)?;
    server.daemon.wait_for_file("told", &guest.ip4().to_string(), SOON)
}

/// One key closes what another has opened, and what came through it is cut.
#[test]
fn a_key_closes_a_door() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let doors = format!(
        "{}[done]\nauthorized_keys = {{dir}}/keys\nclose = ssh\n",
        DOOR.replace("open_for", "established = cut\nopen_for")
    );
    let server = Server::with_doors(&alice.line(), &doors)?;
    let guest = server.scene.guest();
    server.opens(&alice, guest.ip4(), |_| {})?;
    guest.wait_until_open(server.scene.ssh4(), SOON)?;
    let mut session = lab::Session::open(guest, server.scene.ssh4())?;
    session.echo("hello")?;
    server.knock_for(&alice, guest, |request| request.door = "done".into())?;
    server.daemon.wait_for_log("done: OPEN SESAME (alice)", SOON)?;
    server.scene.assert_closes(server.scene.ssh4())?;
    assert!(session.echo("again").is_err(), "the connection goes on");
    Ok(())
}

/// Whoever names themselves oddly runs nothing by it.
#[test]
fn a_name_is_nothing_but_a_name() -> io::Result<()> {
    const NAME: &str = "a'b\"c$(touch owned)`touch owned`;touch owned #%IP% \\ ü";
    let alice = User::new(NAME, 1);
    let server = Server::start(&alice.line())?;
    server.knock(&alice, server.scene.guest())?;
    server.daemon.wait_for_file("told", &format!("{NAME} at {}\n", server.scene.guest().ip4()), SOON)?;
    server.daemon.wait_for_log(&format!("ssh: OPEN SESAME ({NAME})"), SOON)?;
    assert_eq!(count(&server.daemon, "OPEN SESAME"), 1);
    assert!(!std::path::Path::new("owned").exists() && !std::path::Path::new("/owned").exists());
    Ok(())
}
