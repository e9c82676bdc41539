//! Doors that are opened with SSH keys, by one datagram.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use knock_core::spa::{Address, HostKey, HostPublicKey, LENGTH, Request, Sealing, SshKey, sign};
use lab::{Daemon, DaemonBuilder, Host, Signal, wait_until};
use serde_json::Value;
use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};

use crate::support::{REFUSING, SOON, Scene, knockd};

/// Where knocks arrive.
pub(crate) const PORT: u16 = 62_201;

/// The time of day, in nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// A user with a key of their own.
pub(crate) struct User {
    key: PrivateKey,
    public: SshKey,
}

impl User {
    pub(crate) fn new(name: &str, seed: u8) -> Self {
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32]));
        let key = PrivateKey::new(pair, name).unwrap();
        let public = SshKey::new(key.public_key().key_data().clone()).unwrap();
        Self { key, public }
    }

    /// Their line in a file of keys.
    pub(crate) fn line(&self) -> String {
        format!("{}\n", self.key.public_key().to_openssh().unwrap())
    }

    /// The same with options before it.
    pub(crate) fn line_with(&self, options: &str) -> String {
        format!("{options} {}", self.line())
    }

    /// Their key's fingerprint, as it is told.
    pub(crate) fn fingerprint(&self) -> String {
        self.public.fingerprint().to_string()
    }

    /// Their signature of this text.
    pub(crate) fn signature(&self, text: &[u8]) -> Vec<u8> {
        sign(&self.key, text).unwrap()
    }

    /// What they ask for at a door, now.
    pub(crate) fn request(&self, door: &str) -> Request {
        Request {
            time: now(),
            lasts: None,
            address: Address::Source,
            door: door.into(),
            key: self.public.fingerprint(),
        }
    }

    /// A knock with this request.
    pub(crate) fn knock(&self, request: &Request, host: &HostPublicKey) -> [u8; LENGTH] {
        let mut random = [0; 32];
        getrandom::fill(&mut random).unwrap();
        let sealing = Sealing::begin(request, host, random).unwrap();
        let signature = sign(&self.key, &sealing.to_sign()).unwrap();
        sealing.finish(&signature).unwrap()
    }
}

/// What each server says first.
const OPTIONS: &str = "[options]\ninterface = eth0\nlogfile = {dir}/knockd.log\nhost_key = {dir}/host_key\n";
/// A door for the users in `keys`, which tells whom it opens for.
pub(crate) const DOOR: &str = "[ssh]\nauthorized_keys = {dir}/keys\nopen = 22/tcp\nopen_for = 100s\n\
                               start_command = echo \"$KNOCK_USER at %IP%\" >> {dir}/told\n";

/// A server with a door for users with keys.
pub(crate) struct Server {
    pub(crate) scene: Scene,
    pub(crate) daemon: Daemon,
    pub(crate) host: HostKey,
}

impl Server {
    /// `keys` is what stands in the door's file.
    pub(crate) fn start(keys: &str) -> io::Result<Self> {
        Self::with_key(HostKey::from_random(&[7; 32]), keys)
    }

    pub(crate) fn with_key(host: HostKey, keys: &str) -> io::Result<Self> {
        Self::of(knockd()?, host, keys, DOOR)
    }

    /// With these doors, which may be for the users in `keys`.
    pub(crate) fn with_doors(keys: &str, doors: &str) -> io::Result<Self> {
        Self::of(knockd()?, HostKey::from_random(&[7; 32]), keys, doors)
    }

    pub(crate) fn of(program: DaemonBuilder, host: HostKey, keys: &str, doors: &str) -> io::Result<Self> {
        let scene = Scene::new(REFUSING)?;
        let daemon = program.file("host_key", host.to_text().as_bytes(), 0o600).file("keys", keys, 0o644);
        let daemon = daemon.config(format!("{OPTIONS}{doors}")).start(scene.server())?;
        Ok(Self { scene, daemon, host })
    }

    /// Sends these bytes to the server as from this host.
    pub(crate) fn send(&self, from: &Host, bytes: &[u8]) -> io::Result<()> {
        self.send_to(from, self.scene.server().ip4(), bytes)
    }

    /// The same to another address of its.
    pub(crate) fn send_to(&self, from: &Host, to: IpAddr, bytes: &[u8]) -> io::Result<()> {
        let own = if to.is_ipv4() { from.ip4() } else { from.ip6() };
        from.run(|| UdpSocket::bind((own, 0))?.send_to(bytes, SocketAddr::new(to, PORT)).map(drop))
    }

    pub(crate) fn knock(&self, user: &User, from: &Host) -> io::Result<[u8; LENGTH]> {
        self.knock_for(user, from, |_| {})
    }

    /// A knock at the door `ssh`, changed like this.
    pub(crate) fn knock_for(
        &self,
        user: &User,
        from: &Host,
        change: impl FnOnce(&mut Request),
    ) -> io::Result<[u8; LENGTH]> {
        let mut request = user.request("ssh");
        change(&mut request);
        let knock = user.knock(&request, self.host.public());
        self.send(from, &knock)?;
        Ok(knock)
    }

    /// The guest's knock at the door `ssh`, changed like this, which opens it for this address.
    pub(crate) fn opens(
        &self,
        user: &User,
        address: IpAddr,
        change: impl FnOnce(&mut Request),
    ) -> io::Result<[u8; LENGTH]> {
        let line = format!("{address}: ssh: OPEN SESAME");
        let before = self.said(&line);
        let knock = self.knock_for(user, self.scene.guest(), change)?;
        self.wait_for_one_more(before, &line)?;
        Ok(knock)
    }

    /// The guest's knock at the door `ssh`, changed like this, which opens nothing for this reason.
    pub(crate) fn refuses(
        &self,
        user: &User,
        reason: &str,
        change: impl FnOnce(&mut Request),
    ) -> io::Result<[u8; LENGTH]> {
        let before = self.said(reason);
        let (grants, openings) = (self.grants()?, self.said("OPEN SESAME"));
        let knock = self.knock_for(user, self.scene.guest(), change)?;
        self.wait_for_one_more(before, reason)?;
        assert_eq!((self.grants()?.len(), self.said("OPEN SESAME")), (grants.len(), openings), "{reason}");
        Ok(knock)
    }

    /// These bytes, as from this host, open nothing for this reason.
    pub(crate) fn refuses_bytes(&self, from: &Host, bytes: &[u8], reason: &str) -> io::Result<()> {
        let line = format!("{}: ", from.ip4());
        let said =
            || self.daemon.log().lines().filter(|it| it.contains(&line) && it.contains(reason)).count();
        let (before, openings) = (said(), self.said("OPEN SESAME"));
        self.send(from, bytes)?;
        let waited = wait_until(reason, SOON, || said() > before);
        waited.map_err(|error| io::Error::other(format!("{error}; {}", self.daemon.log())))?;
        assert_eq!(self.said("OPEN SESAME"), openings, "{reason}");
        Ok(())
    }

    /// How many lines of the log contain this.
    pub(crate) fn said(&self, part: &str) -> usize {
        self.daemon.log().lines().filter(|line| line.contains(part)).count()
    }

    fn wait_for_one_more(&self, before: usize, part: &str) -> io::Result<()> {
        let waited = wait_until(part, SOON, || self.said(part) > before);
        waited.map_err(|error| io::Error::other(format!("{error}; {}", self.daemon.log())))
    }

    /// What `knockctl` answers to these arguments.
    pub(crate) fn knockctl(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(lab::binary("knockctl")?);
        command.arg("--socket").arg(self.daemon.directory().path().join("knockd.sock"));
        let output = self.scene.server().output(command.args(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The grants that there are, as `knockctl grants --json` tells them.
    pub(crate) fn grants(&self) -> io::Result<Vec<Value>> {
        let answer: Value = serde_json::from_str(&self.knockctl(&["grants", "--json"])?)?;
        Ok(answer["grants"].as_array().cloned().unwrap_or_default())
    }

    /// How long the door is open for this network, in seconds; `None` where it is not open.
    pub(crate) fn left(&self, door: &str, network: &str) -> io::Result<Option<f64>> {
        let grants = self.grants()?;
        let grant = grants.iter().find(|grant| grant["door"] == door && grant["network"] == network);
        Ok(grant.map(|grant| grant["left_seconds"].as_f64().unwrap_or(f64::INFINITY)))
    }

    /// Writes a file into the daemon's directory, in one step.
    pub(crate) fn write(&self, name: &str, content: &str) -> io::Result<()> {
        let directory = self.daemon.directory();
        let new = directory.write("new", content)?;
        std::fs::rename(new, directory.path().join(name))
    }

    /// Ends the daemon in peace.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        self.daemon.signal(Signal::TERM)?;
        self.daemon.wait_exit(SOON).map(drop)
    }

    pub(crate) fn start_again(&mut self) -> io::Result<()> {
        self.daemon.start_again(self.scene.server())
    }
}

#[test]
fn a_key_opens_its_door() -> io::Result<()> {
    let alice = User::new("alice", 1);
    let server = Server::start(&alice.line())?;
    server.scene.assert_shut(server.scene.ssh4());
    server.knock(&alice, server.scene.guest())?;
    server.daemon.wait_for_log("ssh: OPEN SESAME (alice)", SOON)?;
    server.daemon.wait_for_file("told", &format!("alice at {}", server.scene.guest().ip4()), SOON)?;
    server.scene.assert_opens(server.scene.ssh4())
}
