//! Where the documents play: a server and a client who knows it by name.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use lab::{Host, Lab, PortState, Process, Service};

use crate::block::root;
use crate::place::Place;

/// How long anything may take that ought to happen at once, on a machine with a lot to do.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Root's login by key, and no PAM.
const SSHD: &str = "HostKey /etc/ssh/lab
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PidFile none
";
const NAME: &str = "server.example.org";

/// Says why something is not done here; `None` where it is.
pub(crate) fn lab() -> io::Result<Option<Lab>> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    if map.split_whitespace().eq(["0", "0", "4294967295"]) {
        return Lab::pair().map(Some);
    }
    eprintln!("skipped: the documents' commands need root");
    Ok(None)
}

/// The server, and the client, who finds it as `server.example.org`.
pub(crate) struct Town<'a> {
    pub(crate) server: Place<'a>,
    pub(crate) client: Place<'a>,
    /// Whatever listens at port 22.
    _behind: Behind,
}

/// What is behind the door.
enum Behind {
    Sshd { _process: Process },
    Service { _service: Service },
}

impl<'a> Town<'a> {
    /// With an `sshd` of OpenSSH at port 22, where the client may log in as root.
    pub(crate) fn with_sshd(lab: &'a Lab) -> io::Result<Self> {
        let (server, client) = places(lab)?;
        let sshd = start_sshd(&server, &client)?;
        server.host().wait_until_open(server.host().at4(22), SOON)?;
        Ok(Self { server, client, _behind: Behind::Sshd { _process: sshd } })
    }

    /// With something at port 22 to connect to.
    pub(crate) fn with_service(lab: &'a Lab) -> io::Result<Self> {
        let service = Service::start(lab.server(), 22)?;
        let (server, client) = places(lab)?;
        Ok(Self { server, client, _behind: Behind::Service { _service: service } })
    }

    /// The server's port 22, by IPv4 and by IPv6.
    pub(crate) fn ssh(&self) -> [SocketAddr; 2] {
        [self.host().at4(22), self.host().at6(22)]
    }

    fn host(&self) -> &'a Host {
        self.server.host()
    }

    /// How the client finds a port.
    pub(crate) fn probe(&self, target: SocketAddr) -> PortState {
        self.client.host().probe(target)
    }

    /// Checks that nothing answers at port 22, by neither family.
    pub(crate) fn assert_guarded(&self) {
        for target in self.ssh() {
            assert_eq!(self.probe(target), PortState::Filtered, "{target}");
        }
    }

    /// Closes what is open for the client, and checks that it is.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.server.sh("knockctl close --all")?;
        self.assert_guarded();
        Ok(())
    }

    /// The file that the Debian package makes when it is installed for the first time.
    pub(crate) fn make_package_s_door(&self) -> io::Result<()> {
        let template = fs::read_to_string(root().join("packaging/debian/templates/knockd.conf"))?;
        self.server.write("/etc/knockd.conf", &template)?;
        self.server.sh(
            "chmod 640 /etc/knockd.conf
            knockctl new-door ssh --open 22/tcp --open-for 10s --config /etc/knockd.conf --no-qr >/dev/null",
        )?;
        Ok(())
    }

    /// The sequence of a door, as the configuration has it.
    pub(crate) fn sequence(&self, door: &str) -> io::Result<String> {
        let config = self.server.read("/etc/knockd.conf")?;
        let (_, section) = config.split_once(&format!("[{door}]")).unwrap_or_default();
        let line = section.lines().find_map(|line| line.trim().strip_prefix("sequence"));
        let sequence = line.unwrap_or_default().trim_start_matches([' ', '=']);
        assert!(!sequence.is_empty(), "there is no door {door}: {config}");
        Ok(sequence.to_owned())
    }
}

fn places(lab: &Lab) -> io::Result<(Place<'_>, Place<'_>)> {
    let (server, client) = (Place::settle(lab.server())?, Place::settle(lab.client())?);
    let (ip4, ip6) = (lab.server().ip4(), lab.server().ip6());
    client.sh(&format!("printf '{ip4} {NAME}\\n{ip6} {NAME}\\n' >>/etc/hosts"))?;
    Ok((server, client))
}

fn start_sshd(server: &Place<'_>, client: &Place<'_>) -> io::Result<Process> {
    client.sh("mkdir -p -m 700 .ssh; ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")?;
    server.sh("ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/lab; mkdir -p -m 700 .ssh")?;
    server.write("~/.ssh/authorized_keys", &client.read("/root/.ssh/id_ed25519.pub")?)?;
    client.write("~/.ssh/known_hosts", &format!("{NAME} {}", server.read("/etc/ssh/lab.pub")?))?;
    server.write("/etc/ssh/sshd_config", SSHD)?;
    client.write("/etc/ssh/ssh_config", "BatchMode yes\nStrictHostKeyChecking yes\nCheckHostIP no\n")?;
    let mut sshd = server.command("/usr/sbin/sshd");
    sshd.args(["-D", "-E", "/run/sshd.log"]).stdin(Stdio::null());
    server.host().spawn(&mut sshd)
}
