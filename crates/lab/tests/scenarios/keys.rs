//! Doors that are opened with SSH keys, by one datagram.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use knock_core::spa::{Address, HostKey, HostPublicKey, LENGTH, Request, Sealing, SshKey, sign};
use lab::{Daemon, Host};
use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};

use crate::support::{REFUSING, SOON, Scene, knockd};

/// Where knocks arrive.
const PORT: u16 = 62_201;

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

    /// What they ask for at a door, now.
    pub(crate) fn request(&self, door: &str) -> Request {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        Request {
            time: now,
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
        let scene = Scene::new(REFUSING)?;
        let config = "[options]\ninterface = eth0\nlogfile = {dir}/knockd.log\nhost_key = {dir}/host_key\n\
                      [ssh]\nauthorized_keys = {dir}/keys\nopen = 22/tcp\nopen_for = 100s\n\
                      start_command = echo \"$KNOCK_USER at %IP%\" >> {dir}/told\n";
        let daemon = knockd()?.file("host_key", host.to_text().as_bytes(), 0o600).file("keys", keys, 0o644);
        let daemon = daemon.config(config).start(scene.server())?;
        Ok(Self { scene, daemon, host })
    }

    /// Sends these bytes to the server as from this host.
    pub(crate) fn send(&self, from: &Host, bytes: &[u8]) -> io::Result<()> {
        let (own, to) = (from.ip4(), SocketAddr::new(self.scene.server().ip4(), PORT));
        from.run(|| UdpSocket::bind((own, 0))?.send_to(bytes, to).map(drop))
    }

    pub(crate) fn knock(&self, user: &User, from: &Host) -> io::Result<[u8; LENGTH]> {
        let knock = user.knock(&user.request("ssh"), self.host.public());
        self.send(from, &knock)?;
        Ok(knock)
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
