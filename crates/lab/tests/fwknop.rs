//! The packets of fwknop's own client, sent over loopback, as they are read and refused.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use knock_core::fwknop::{Allow, FwknopKeys, Knock, Refusal, decode};
use knock_core::knock::Protocol;
use lab::TempDir;

const PASSPHRASES: &str = "KEY sesame\nHMAC_KEY simsim\n";
const SOON: Duration = Duration::from_secs(10);

/// A client with its `~/.fwknoprc`, and who listens to it.
struct Client {
    home: TempDir,
    server: UdpSocket,
    keys: String,
}

impl Client {
    /// One that has these lines of keys.
    fn with(keys: &str) -> io::Result<Self> {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        server.set_read_timeout(Some(SOON))?;
        let home = TempDir::new()?;
        let rc = format!(
            "[door]\nSPA_SERVER 127.0.0.1\nSPA_SERVER_PORT {}\nACCESS tcp/22\n{keys}",
            server.local_addr()?.port()
        );
        let rc = home.write(".fwknoprc", rc)?;
        fs::set_permissions(rc, Permissions::from_mode(0o600))?;
        Ok(Self { home, server, keys: keys.to_owned() })
    }

    /// One that has passphrases.
    fn new() -> io::Result<Self> {
        Self::with(PASSPHRASES)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("fwknop");
        command
            .env("HOME", self.home.path())
            .env("GNUPGHOME", self.home.path())
            .env("SPOOF_USER", "somebody");
        command.args(["-n", "door"]).args(arguments);
        command
    }

    /// What the client sends.
    fn packet(&self, arguments: &[&str]) -> io::Result<Vec<u8>> {
        let output = self.command(arguments).output()?;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let mut buffer = [0; 2000];
        let length = self.server.recv(&mut buffer)?;
        Ok(buffer[..length].to_vec())
    }

    fn keys(&self) -> FwknopKeys {
        keys(self.keys.as_bytes())
    }

    fn knock(&self, arguments: &[&str]) -> io::Result<Result<Knock, Refusal>> {
        Ok(decode(&self.packet(arguments)?, &self.keys()))
    }

    #[track_caller]
    fn assert_refused(&self, arguments: &[&str], expected: &Refusal) -> io::Result<()> {
        assert_eq!(self.knock(arguments)?.as_ref(), Err(expected), "{arguments:?}");
        Ok(())
    }
}

/// From lines that are in both files.
fn keys(lines: &[u8]) -> FwknopKeys {
    FwknopKeys::parse(lines, lines).unwrap_or_else(|fault| panic!("{fault}"))
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs())
}

#[test]
fn a_knock_is_read_as_it_was_meant() -> io::Result<()> {
    let client = Client::new()?;
    let before = now();
    let knock = client.knock(&["-a", "192.0.2.7"])?.unwrap();
    assert!((before..=now()).contains(&knock.time), "{knock:?}");
    assert_eq!((knock.user.as_str(), knock.timeout), ("somebody", None));
    assert_eq!(knock.allow, Allow::Address(Ipv4Addr::new(192, 0, 2, 7)));
    assert_eq!(knock.accesses, [(Protocol::Tcp, 22)]);
    let again = client.knock(&["-a", "192.0.2.7"])?.unwrap();
    assert_ne!(again.identity, knock.identity);
    Ok(())
}

#[test]
fn source_ports_and_time_can_be_asked_for() -> io::Result<()> {
    let client = Client::new()?;
    let knock = client.knock(&["-s", "-A", "tcp/22,udp/53,tcp/65535", "-f", "65536"])?.unwrap();
    assert_eq!((knock.allow, knock.timeout), (Allow::Source, Some(65536)));
    assert_eq!(knock.accesses, [(Protocol::Tcp, 22), (Protocol::Udp, 53), (Protocol::Tcp, 65535)]);
    assert_eq!(client.knock(&["-s", "-f", "1"])?.unwrap().timeout, Some(1));
    assert_eq!(client.knock(&["-s", "-f", "0"])?.unwrap().timeout, None);
    Ok(())
}

#[test]
fn an_address_found_by_the_client_is_read() -> io::Result<()> {
    let client = Client::new()?;
    let wget = client.home.write("wget", "#!/bin/sh\necho 203.0.113.9\n")?;
    fs::set_permissions(&wget, Permissions::from_mode(0o700))?;
    let knock = client.knock(&["-R", "--wget-cmd", &wget.to_string_lossy()])?.unwrap();
    assert_eq!(knock.allow, Allow::Address(Ipv4Addr::new(203, 0, 113, 9)));
    Ok(())
}

#[test]
fn all_keys_that_the_client_can_have_are_the_same_here() -> io::Result<()> {
    for keys in
        ["KEY a\nHMAC_KEY b\n", "KEY_BASE64 AAA=\nHMAC_KEY_BASE64: AAAA\n", "KEY grüße\nHMAC_KEY ключ\n"]
    {
        assert!(Client::with(keys)?.knock(&["-s"])?.is_ok(), "{keys}");
    }
    for (key, hmac) in [(15, 63), (16, 64), (17, 65), (31, 127), (32, 128)] {
        let client = Client::with(&format!("KEY {}\nHMAC_KEY {}\n", "k".repeat(key), "h".repeat(hmac)))?;
        for digest in ["sha256", "sha384", "sha512"] {
            assert!(client.knock(&["-s", "--hmac-digest-type", digest])?.is_ok(), "{key} {hmac} {digest}");
        }
    }
    Ok(())
}

#[test]
fn generated_keys_can_be_copied_as_they_are() -> io::Result<()> {
    let home = TempDir::new()?;
    let file = home.path().join("keys");
    let made = Command::new("fwknop")
        .env("HOME", home.path())
        .arg("--key-gen-file")
        .arg(&file)
        .arg("--key-gen")
        .output()?;
    assert!(made.status.success(), "{made:?}");
    assert!(Client::with(&fs::read_to_string(file)?)?.knock(&["-s"])?.is_ok());
    Ok(())
}

#[test]
fn digests_of_sha_2_are_accepted_and_others_refused() -> io::Result<()> {
    let client = Client::new()?;
    for digest in ["sha256", "sha384", "sha512"] {
        for hmac in ["sha256", "sha384", "sha512"] {
            let knock = client.knock(&["-s", "-m", digest, "--hmac-digest-type", hmac])?;
            assert!(knock.is_ok(), "{digest} {hmac}: {knock:?}");
        }
        client.assert_refused(&["-s", "-m", digest, "--hmac-digest-type", "md5"], &Refusal::Md5Hmac)?;
        client.assert_refused(&["-s", "-m", digest, "--hmac-digest-type", "sha1"], &Refusal::Sha1Hmac)?;
        for hmac in ["sha3_256", "sha3_512"] {
            let refused = client.knock(&["-s", "-m", digest, "--hmac-digest-type", hmac])?;
            assert!(matches!(refused, Err(Refusal::NotAuthentic { .. })), "{hmac}: {refused:?}");
        }
    }
    client.assert_refused(&["-s", "-m", "md5"], &Refusal::WeakDigest("MD5"))?;
    client.assert_refused(&["-s", "-m", "sha1"], &Refusal::WeakDigest("SHA-1"))?;
    client.assert_refused(&["-s", "-m", "sha3_256"], &Refusal::WrongDigest)?;
    client.assert_refused(&["-s", "-m", "sha3_512"], &Refusal::WrongDigest)
}

#[test]
fn other_modes_of_encryption_are_refused() -> io::Result<()> {
    let client = Client::new()?;
    for mode in ["ecb", "cfb", "ofb", "ctr"] {
        client.assert_refused(&["-s", "-M", mode], &Refusal::Undecipherable)?;
    }
    // The client refuses this one together with an HMAC.
    let without = Client::with("KEY sesame\n")?;
    for mode in ["cbc", "legacy"] {
        let refused = decode(&without.packet(&["-s", "-M", mode])?, &client.keys());
        assert_eq!(refused, Err(Refusal::NotAuthentic { without: true }), "{mode}");
    }
    Ok(())
}

/// A pair of keys for GnuPG.
const WANTED: &str = "%no-protection\nKey-Type: RSA\nKey-Length: 2048\nSubkey-Type: RSA\nSubkey-Length: 2048\n\
    Name-Email: somebody@example.org\n%commit\n";

#[test]
fn gnupg_is_refused() -> io::Result<()> {
    let client = Client::new()?;
    let gpg = |arguments: &[&str]| {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", client.home.path()).args(["--batch", "--quiet"]).args(arguments).output()
    };
    let wanted = client.home.write("wanted", WANTED)?;
    let made = gpg(&["--generate-key", &wanted.to_string_lossy()])?;
    assert!(made.status.success(), "{made:?}");
    let home = client.home.path().to_string_lossy();
    let arguments =
        ["-s", "--gpg-recipient-key", "somebody@example.org", "--gpg-signer-key", "somebody@example.org"];
    let packet = client.packet(&[&arguments[..], &["--gpg-home-dir", &home, "--gpg-no-signing-pw"]].concat());
    Command::new("gpgconf").env("GNUPGHOME", client.home.path()).args(["--kill", "all"]).status()?;
    assert_eq!(decode(&packet?, &client.keys()), Err(Refusal::Gpg));
    Ok(())
}

#[test]
fn commands_and_ways_through_are_refused() -> io::Result<()> {
    let client = Client::new()?;
    client.assert_refused(&["-s", "-C", "id"], &Refusal::Command)?;
    client.assert_refused(&["-s", "-N", "192.0.2.5:22"], &Refusal::Nat)?;
    client.assert_refused(&["-s", "-N", "192.0.2.5:22", "-f", "5"], &Refusal::Nat)?;
    client.assert_refused(&["-s", "-N", "192.0.2.5:22", "--nat-local"], &Refusal::Nat)?;
    client.assert_refused(&["-s", "-N", "192.0.2.5:22", "--nat-local", "-f", "5"], &Refusal::Nat)
}

#[test]
fn other_keys_are_refused() -> io::Result<()> {
    let packet = Client::new()?.packet(&["-s"])?;
    let with = |lines| decode(&packet, &keys(lines));
    assert_eq!(with(b"KEY sesam\nHMAC_KEY simsim\n"), Err(Refusal::Undecipherable));
    let refused = with(b"KEY sesame\nHMAC_KEY simsi\n").unwrap_err();
    assert!(!refused.is_authentic());
    Ok(())
}

/// Beside this, everything that somebody on the way could make of it: see knock-core's own tests.
#[test]
fn no_bit_of_a_packet_can_be_changed() -> io::Result<()> {
    let client = Client::new()?;
    let keys = client.keys();
    for digest in ["sha256", "sha384", "sha512"] {
        let packet = client.packet(&["-s", "-f", "60", "--hmac-digest-type", digest])?;
        assert!(decode(&packet, &keys).is_ok());
        for bit in 0..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&changed, &keys).is_err(), "{digest}: bit {bit}");
        }
    }
    Ok(())
}

/// The client has no other addresses to ask for, and so no packet of it is refused because of one.
#[test]
fn the_client_itself_refuses_ipv6() -> io::Result<()> {
    let client = Client::new()?;
    let output = client.command(&["-a", "2001:db8::1", "--test"]).output()?;
    assert!(!output.status.success(), "{output:?}");
    Ok(())
}
