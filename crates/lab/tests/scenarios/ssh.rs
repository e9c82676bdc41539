//! OpenSSH's own `ssh` and `sshd`, with nothing between them but a door and `knock`, as the client's manual shows it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use knock_core::spa::HostKey;
use lab::{Daemon, Host, Lab, PortState, Process, TempDir};

use crate::support::{SOON, count, skip, start};

const DOOR: &str = "open = 22/tcp\nopen_for = 3\n";
const SEQUENCE: &str = "[options]\n[ssh]\nsequence = 7142,8319:udp,9623\ntcpflags = syn\n";
/// The client's own names for it. One knock has to do.
const HOSTS: &str = "retry = 0\n[myserver]\nhost = \"10.9.0.1\"\nsequence = \"7142,8319:udp,9623\"\nverify = 22\n\
    [six]\nhost = \"fd09::1\"\nsequence = \"7142,8319:udp,9623\"\nfamily = 6\n\
    [once]\nhost = \"10.9.0.1\"\none_time = \"../once.seq\"\ndelay = 5\n\
    [wrong]\nhost = \"10.9.0.1\"\nsequence = \"7142,9623\"\ntimeout = 1\n";
/// The server, with root's login by key; and nothing of the machine's own: no PAM, no `/run`, no keys.
const SSHD: &str = "Port 22
HostKey {dir}/host
AuthorizedKeysFile {dir}/user.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
";
const SSH: &str = "Host *
    BatchMode yes
    IdentityFile {dir}/user
    IdentitiesOnly yes
    HostKeyAlias server
    UserKnownHostsFile {dir}/known
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ConnectTimeout 20
";
/// The client's manual.
const MANUAL: &str = include_str!("../../../../docs/knock.md");

/// What the manual puts into ssh's configuration, found by `part`; for our server, and for all our names of it.
fn of_the_manual(part: &str) -> String {
    let is_of_ssh = |block: &&str| block.starts_with("Host ") || block.starts_with("Match ");
    let block =
        MANUAL.split("```\n").filter(is_of_ssh).find(|block| block.contains(part)).unwrap_or_default();
    assert!(block.contains("server.example.org"), "{part} is missing in the manual");
    let block = block.replace("HostName server.example.org", "HostName 10.9.0.1");
    block.replace("Host myserver\n    HostName 10.9.0.1\n", "Host myserver six once wrong\n")
}

/// `sshd` on the server, behind a door.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) directory: TempDir,
    pub(crate) daemon: Daemon,
    _sshd: Process,
}

impl Scene {
    /// With this door, which may name files of `{dir}`, and `client` followed by `SSH` as the client's configuration. `None` where `sshd` cannot do with
    /// the rights that there are.
    pub(crate) fn new(door: &str, client: &str) -> io::Result<Option<Self>> {
        if !is_root_of_the_machine()? {
            skip("sshd needs a root who may become others");
            return Ok(None);
        }
        let (lab, directory) = (Lab::pair()?, TempDir::new()?);
        let fill_in = |text: &str| text.replace("{dir}", &directory.path().to_string_lossy());
        let server = lab.server();
        for key in ["host", "user"] {
            make_key(server, &directory.path().join(key))?;
        }
        directory.write("known", format!("server {}", directory.read("host.pub")))?;
        directory.write("sshd_config", fill_in(SSHD))?;
        directory.write("ssh_config", fill_in(&format!("{client}{SSH}")))?;
        directory.write("once.seq", "")?;
        write_keys(&directory)?;
        fs::create_dir(directory.path().join("knock"))?;
        let hosts = directory.write("knock/config.toml", HOSTS)?;
        fs::set_permissions(hosts, fs::Permissions::from_mode(0o600))?;
        let sshd = start_sshd(server, &directory)?;
        server.wait_until_open(server.at4(22), SOON)?;
        let daemon = start(server, &fill_in(door))?;
        assert_eq!(lab.client().probe(server.at4(22)), PortState::Filtered);
        Ok(Some(Self { lab, directory, daemon, _sshd: sshd }))
    }

    /// Runs a shell script on the client's host, in which `ssh` and `knock` are ours.
    pub(crate) fn output(&self, script: &str) -> io::Result<Output> {
        let knock = lab::binary("knock")?;
        let directory = self.directory.path();
        let path = format!("{}:/usr/bin:/bin", knock.parent().unwrap_or(directory).display());
        let script = format!("ssh() {{ command ssh -F ssh_config \"$@\"; }}\n{script}");
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).current_dir(directory);
        command.env("PATH", path).env("XDG_CONFIG_HOME", directory);
        self.lab.client().output(&mut command)
    }

    /// The same for one that must succeed, with nothing to remark; what it wrote.
    pub(crate) fn run(&self, script: &str) -> io::Result<String> {
        let output = self.output(script)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let told = format!("{script}: {}\n{stdout}{stderr}{}", output.status, self.daemon.text());
        assert!(output.status.success() && stderr.is_empty(), "{told}");
        Ok(stdout)
    }

    /// Checks that one knock has opened the door, and no second one was needed.
    pub(crate) fn assert_opened_once(&self) -> io::Result<()> {
        self.daemon.wait_for_line("OPEN SESAME", SOON)?;
        assert_eq!(count(&self.daemon, "OPEN SESAME"), 1, "{}", self.daemon.text());
        Ok(())
    }
}

/// Whether this is more than the root of a user namespace.
fn is_root_of_the_machine() -> io::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// The server's knock key, and the file of a door that the user has a key to.
fn write_keys(directory: &TempDir) -> io::Result<()> {
    let host_key = directory.write("host_key", knock_key().to_text().as_str())?;
    fs::set_permissions(host_key, fs::Permissions::from_mode(0o600))?;
    directory.write("authorized_keys", directory.read("user.pub"))?;
    Ok(())
}

/// The server's knock key.
pub(crate) fn knock_key() -> HostKey {
    HostKey::from_random(&[7; 32])
}

fn make_key(host: &Host, path: &Path) -> io::Result<()> {
    host.sh(&format!("ssh-keygen -q -t ed25519 -N '' -f {}", path.display()))?;
    Ok(())
}

/// Its `/run` is its own.
fn start_sshd(server: &Host, directory: &TempDir) -> io::Result<Process> {
    let config = directory.path().join("sshd_config");
    let script =
        "mount -t tmpfs none /run\nmkdir -m 755 /run/sshd\nexec /usr/sbin/sshd -D -E \"$1\" -f \"$2\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sshd"]);
    server.spawn(command.arg(directory.path().join("sshd.log")).arg(config))
}

#[test]
fn proxy_command_needs_nothing_else() -> io::Result<()> {
    let Some(scene) = Scene::new(&format!("{SEQUENCE}{DOOR}"), "")? else { return Ok(()) };
    assert_eq!(scene.run("ssh -o ProxyCommand='knock --proxy %h %p' myserver echo hi")?, "hi\n");
    scene.assert_opened_once()?;
    scene.lab.client().wait_until_closed(scene.lab.server().at4(22), SOON)?;
    // By the address, too, which is all that a ProxyCommand may be given.
    assert_eq!(scene.run("ssh -o ProxyCommand='knock --proxy %h %p' 10.9.0.1 echo hi")?, "hi\n");
    Ok(())
}

#[test]
fn a_session_outlives_its_door_and_loses_nothing() -> io::Result<()> {
    let proxy = of_the_manual("ProxyCommand knock --proxy %h %p");
    let Some(scene) = Scene::new(&format!("{SEQUENCE}{DOOR}"), &proxy)? else { return Ok(()) };
    let (client, port) = (scene.lab.client(), scene.lab.server().at4(22));
    let shut = scene.directory.path().join("shut").display().to_string();
    let script = format!(
        "head -c 20000000 /dev/urandom > sent\n\
         ssh myserver 'until test -e {shut}; do sleep 0.1; done; exec cat' < sent > received\n\
         cmp sent received"
    );
    thread::scope(|scope| {
        let session = scope.spawn(|| scene.run(&script));
        let is_shut = scene
            .daemon
            .wait_for_line("OPEN SESAME", SOON)
            .and_then(|_| client.wait_until_closed(port, SOON));
        // The session ends in any case.
        scene.directory.write("shut", "")?;
        let written = session.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        assert_eq!(written, "");
        is_shut
    })?;
    scene.assert_opened_once()?;
    assert_eq!(client.probe(port), PortState::Filtered);
    Ok(())
}

#[test]
fn by_ipv6_to_the_address_that_was_knocked_at() -> io::Result<()> {
    let Some(scene) =
        Scene::new(&format!("{SEQUENCE}{DOOR}"), &of_the_manual("ProxyCommand knock --proxy %h %p"))?
    else {
        return Ok(());
    };
    let connection = scene.run("ssh six 'echo $SSH_CONNECTION'")?;
    assert!(connection.starts_with("fd09::1:1 ") && connection.contains(" fd09::1 22"), "{connection}");
    Ok(())
}

#[test]
fn match_exec_opens_before_ssh_connects() -> io::Result<()> {
    let Some(scene) = Scene::new(&format!("{SEQUENCE}{DOOR}"), &of_the_manual("Match originalhost"))? else {
        return Ok(());
    };
    assert_eq!(scene.run("ssh myserver echo hi")?, "hi\n");
    scene.assert_opened_once()?;
    Ok(())
}

#[test]
fn each_connection_takes_a_line_of_its_own() -> io::Result<()> {
    let file = TempDir::new()?;
    let lines = " 7142,8319:udp,9623\n 4007,5109:udp\n 1701:udp,2803,3905\n";
    let path = file.write("sequences", lines)?;
    let door = format!("[options]\n[once]\none_time_sequences = {}\ntcpflags = syn\n{DOOR}", path.display());
    let Some(scene) = Scene::new(&door, &of_the_manual("ProxyCommand knock --proxy %h %p"))? else {
        return Ok(());
    };
    scene.directory.write("once.seq", lines)?;
    // Both at once: the second waits for the first one's line.
    let script = "ssh once echo hi & ssh once echo hi; wait $! && ssh once echo hi";
    let output = scene.output(script)?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), b"hi\nhi\nhi\n".as_slice()),
        "{told}"
    );
    let used = lines.replace("\n ", "\n#").replacen(' ', "#", 1);
    assert_eq!(scene.directory.read("once.seq"), used);
    lab::wait_until("the server's marks", SOON, || file.read("sequences") == used)
}

#[test]
fn what_does_not_open_is_said_in_two_lines() -> io::Result<()> {
    let Some(scene) =
        Scene::new(&format!("{SEQUENCE}{DOOR}"), &of_the_manual("ProxyCommand knock --proxy %h %p"))?
    else {
        return Ok(());
    };
    let output = scene.output("ssh wrong echo hi")?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = told.lines().filter(|line| !line.contains("onnection closed by")).collect();
    let [what, where_to_look] = lines.as_slice() else { panic!("{told}") };
    assert!(what.starts_with("knock: 10.9.0.1:22 did not open: no answer for 1."), "{told}");
    assert_eq!(
        *where_to_look,
        "  - on the server, `knockctl explain 10.9.1.1` tells what became of the knock"
    );
    Ok(())
}
