//! A server whose firewall drops everything, and a daemon on it.
//!
//! The daemon logs to a file and to nowhere else: a pipe's reader would be woken by each line, on the processor that
//! the daemon needs.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lab::{Host, Lab, Process, Signal, wait_until};

use crate::machine;
use crate::prober::{PORT, Prober, Race};
use crate::processors::{End, stay_at};
use crate::scratch::Scratch;

/// How long anything may take that ought to happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How often Debian's knockd takes what has come in from the kernel.
const DEBIAN_LOOKS: Duration = Duration::from_millis(50);
/// How long a daemon may take to end in peace.
const FAREWELL: Duration = Duration::from_secs(12);
/// The knocks: the port, and whether it is UDP.
pub(crate) const KNOCKS: [(u16, bool); 3] = [(7142, false), (8319, true), (9623, false)];

/// The server's firewall, which knows the daemon's mark.
const FIREWALL: &str = "iptables -P INPUT DROP
iptables -A INPUT -m mark --mark 0x10000000/0x10000000 -j ACCEPT";

/// The directives of the door; before them comes how it opens.
const DOOR: &str = "[door]
sequence = 7142,8319:udp,9623
seq_timeout = 20
tcpflags = syn
";

/// Makes a lab with that firewall on its server.
pub(crate) fn firewalled() -> io::Result<Lab> {
    let lab = Lab::pair()?;
    lab.server().sh(FIREWALL)?;
    Ok(lab)
}

/// A door that the kernel opens for so long.
pub(crate) fn native(open_for: Duration) -> String {
    format!("{DOOR}open = {PORT}/udp\nopen_for = {}\n", open_for.as_secs_f64())
}

/// A door that iptables opens and closes again a second later.
pub(crate) fn commands() -> String {
    let rule = format!("INPUT -s %IP% -p udp --dport {PORT} -j ACCEPT");
    format!(
        "{DOOR}start_command = /usr/sbin/iptables -I {rule}\ncmd_timeout = 1\n\
         stop_command = /usr/sbin/iptables -D {rule}\n"
    )
}

/// What the bench's own process runs in place of a daemon that runs commands.
pub(crate) fn start_command(source: IpAddr) -> String {
    format!("/usr/sbin/iptables -I INPUT -s {source} -p udp --dport {PORT} -j ACCEPT")
}

/// A daemon, its server, and who knocks there.
pub(crate) struct Server {
    // First: it ends before its host and its files go.
    daemon: Process,
    pub(crate) is_ours: bool,
    pub(crate) lab: Lab,
    pub(crate) prober: Prober,
    pub(crate) files: Scratch,
    /// How often it was knocked at.
    knocked: AtomicU32,
}

impl Server {
    /// Starts a daemon with a door. `is_ours`: it understands our own options.
    pub(crate) fn start(program: &Path, is_ours: bool, door: &str, files: Scratch) -> io::Result<Self> {
        let lab = firewalled()?;
        let config = config(is_ours, door, files.path());
        fs::write(files.path().join("knockd.conf"), config)?;
        let prober = Prober::new(&lab)?;
        let daemon = spawn(lab.server(), program, files.path())?;
        let server = Self { daemon, is_ours, lab, prober, files, knocked: AtomicU32::new(0) };
        server.wait_for_log("listening on")?;
        Ok(server)
    }

    /// The daemon's process id.
    pub(crate) fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// Where our daemon has its journal.
    pub(crate) fn state(&self) -> PathBuf {
        state(self.files.path())
    }

    /// Where it logs.
    pub(crate) fn log(&self) -> PathBuf {
        self.files.path().join("knockd.log")
    }

    /// Where our daemon answers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.files.path().join("knockd.sock")
    }

    /// Knocks for an address that has not knocked before; the race from the last knock to the open port.
    pub(crate) fn open_one(&self) -> io::Result<(IpAddr, Race)> {
        let source = self.prober.fresh_source();
        if self.prober.lets_in(source)? {
            return Err(io::Error::other(format!("{source} is let in without a knock")));
        }
        let mut knocks = KNOCKS.map(|(port, is_udp)| self.prober.knock(source, port, is_udp)).into_iter();
        let last = knocks.next_back().unwrap_or_default();
        knocks.try_for_each(|knock| self.prober.send(&knock))?;
        self.wait_for_log(&format!("{source}: door: Stage 2"))?;
        thread::sleep(self.next_pause());
        machine::rest();
        let race = self.prober.race(source, SOON, || self.prober.send(&last))?;
        Ok((source, race))
    }

    /// Another one each time, evenly up to [`DEBIAN_LOOKS`]: what was logged at such a look must not say when the next
    /// knock comes.
    fn next_pause(&self) -> Duration {
        let turn = self.knocked.fetch_add(1, Ordering::Relaxed);
        DEBIAN_LOOKS * (turn * 7 % 50) / 50
    }

    /// Waits until an address is no longer let in.
    pub(crate) fn wait_until_shut(&self, source: IpAddr) -> io::Result<()> {
        let shut = || self.prober.lets_in(source).is_ok_and(|open| !open);
        wait_until(&format!("{source} let in no longer"), SOON, shut)
    }

    /// The processor time of all its threads so far.
    pub(crate) fn busy(&self) -> io::Result<Duration> {
        self.processes()?.into_iter().map(busy).sum()
    }

    /// The same as the kernel counts it in ticks of a hundredth of a second.
    pub(crate) fn ticks(&self) -> io::Result<u64> {
        self.processes()?.into_iter().map(ticks).sum()
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        self.status("VmRSS:")
    }

    /// How often its threads were woken.
    pub(crate) fn wakes(&self) -> io::Result<u64> {
        self.processes()?.into_iter().map(wakes).sum()
    }

    /// The most that its resident memory ever was, in KiB.
    pub(crate) fn most_resident(&self) -> io::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> io::Result<u64> {
        let of_one = |id| field(Path::new(&format!("/proc/{id}/status")), name);
        self.processes()?.into_iter().map(of_one).sum()
    }

    /// The daemon's process, and the one that reads packets for it.
    fn processes(&self) -> io::Result<Vec<u32>> {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let reads = |id: &u32| {
            fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.starts_with(b"knockd: reading"))
        };
        let children = children.split_whitespace().filter_map(|id| id.parse().ok()).filter(reads);
        Ok(std::iter::once(id).chain(children).collect())
    }

    fn wait_for_log(&self, part: &str) -> io::Result<()> {
        let path = self.log();
        let said = || fs::read_to_string(&path).is_ok_and(|log| log.contains(part));
        wait_until(&format!("{part:?} in {}", path.display()), SOON, said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In peace, so that what it has opened is closed by nobody when the host is gone.
        let _ = self.daemon.signal(Signal::TERM);
        let _ = self.daemon.wait_exit(FAREWELL);
    }
}

/// The processor time of all threads of a process so far.
pub(crate) fn busy(id: u32) -> io::Result<Duration> {
    let of_one = |thread: PathBuf| {
        let text = fs::read_to_string(thread.join("schedstat"))?;
        let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
        nanoseconds.map(Duration::from_nanos).ok_or_else(|| io::Error::other("no schedstat"))
    };
    threads(id)?.map(|thread| of_one(thread?)).sum()
}

fn ticks(id: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    Ok(fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}

fn wakes(id: u32) -> io::Result<u64> {
    let status = |thread: PathBuf| field(&thread.join("status"), "voluntary_ctxt_switches:");
    threads(id)?.map(|thread| status(thread?)).sum()
}

/// The directories of the threads of a process.
fn threads(id: u32) -> io::Result<impl Iterator<Item = io::Result<PathBuf>>> {
    Ok(fs::read_dir(format!("/proc/{id}/task"))?.map(|entry| Ok(entry?.path())))
}

/// A number in a file that has its name before it.
fn field(path: &Path, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {name} in {}", path.display())))
}

/// The state directory among a daemon's files.
pub(crate) fn state(files: &Path) -> PathBuf {
    files.join("state")
}

/// The configuration of a daemon with its files here.
pub(crate) fn config(is_ours: bool, door: &str, files: &Path) -> String {
    let (log, state) = (files.join("knockd.log"), state(files));
    let mut config = format!("[options]\nlogfile = {}\n", log.display());
    if is_ours {
        let socket = files.join("knockd.sock");
        config += &format!(
            "accept_rule = none\nstate_directory = {}\ncontrol_socket = {}\n",
            state.display(),
            socket.display()
        );
    }
    config + door
}

fn spawn(host: &Host, program: &Path, files: &Path) -> io::Result<Process> {
    let errors = fs::File::create(files.join("errors"))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(files.join("knockd.conf")).args(["-i", "eth0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    host.run(|| {
        stay_at(End::Server);
        Process::spawn(&mut command)
    })
}
