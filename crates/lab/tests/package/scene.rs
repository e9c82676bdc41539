//! A machine on a network with somebody who knocks.

use std::io;
use std::time::Duration;

use lab::{Lab, Service, wait_until};

use crate::machine::{Init, Machine, Prepared};

/// What is more than enough for anything that is to happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// The port that a service listens at.
pub(crate) const SSH: u16 = 22;
/// What knocks at the door of commands, and at the one that the kernel opens.
pub(crate) const COMMANDS: &str = "7142,8319:udp,5623";
const NATIVE: &str = "6011,4480:udp,9214,3301:udp";
/// The door of commands, as knockd knows it too. It makes a file, and removes it when it closes.
pub(crate) const CONFIG: &str = "\
[options]
    UseSyslog
    LogFile = /var/log/knockd.log

[commands]
    sequence      = 7142,8319:udp,5623
    seq_timeout   = 15
    tcpflags      = syn
    start_command = touch /run/opened
    cmd_timeout   = 3600
    stop_command  = rm /run/opened
";
/// So long after the command a door of knockd's closes, in seconds.
const THEIR_TIME: &str = "4";
/// The door that the kernel opens, to be added.
pub(crate) const NATIVE_DOOR: &str = "
[ssh]
    sequence    = 6011,4480:udp,9214,3301:udp
    seq_timeout = 15
    tcpflags    = syn
    open        = 22/tcp
    open_for    = 1h
";

/// The file of somebody who uses knockd.
pub(crate) fn their_config() -> String {
    CONFIG.replace("3600", THEIR_TIME)
}

/// The server of a lab as a Debian, and its client.
pub(crate) struct Scene {
    pub(crate) machine: Machine,
    pub(crate) lab: Lab,
    _service: Service,
}

impl Scene {
    /// Boots it, with a service at [`SSH`].
    pub(crate) fn set(prepared: &Prepared, init: Init) -> io::Result<Self> {
        let lab = Lab::pair()?;
        let service = Service::start(lab.server(), SSH)?;
        let machine = Machine::boot(prepared, lab.server(), init)?;
        Ok(Self { machine, lab, _service: service })
    }

    /// Debian's knockd, as somebody has it who uses it: with a file and options of their own.
    pub(crate) fn install_knockd(&self) -> io::Result<()> {
        self.machine.install("/srv/knockd.deb")?;
        self.machine.write("/etc/knockd.conf", &their_config())?;
        self.machine.sh("chmod 600 /etc/knockd.conf").map(drop)
    }

    /// What knockd has opened is closed by knockd's own helper, which nobody has ended.
    pub(crate) fn knockd_closes_its_door(&self) -> io::Result<()> {
        wait_until("knockd's door is closed", SOON, || !self.machine.has("/run/opened"))?;
        let script = "pgrep --exact knockd | while read process; do readlink /proc/$process/exe; done";
        wait_until("knockd's helper has ended", SOON, || {
            self.machine.sh(script).is_ok_and(|programs| !programs.contains("deleted"))
        })
    }

    /// Knocks at the door of commands until it is open: who has just started may not listen yet.
    pub(crate) fn open_by_commands(&self) -> io::Result<()> {
        self.knock_until("the command has run", COMMANDS, || self.machine.has("/run/opened"))
    }

    /// Knocks at the door that the kernel opens until it is open.
    pub(crate) fn open_natively(&self) -> io::Result<()> {
        let target = self.lab.server().at4(SSH);
        self.knock_until("the port is open", NATIVE, || {
            self.lab.client().probe(target) == lab::PortState::Open
        })
    }

    /// Whether the client may connect.
    pub(crate) fn is_open(&self) -> bool {
        self.lab.client().probe(self.lab.server().at4(SSH)) == lab::PortState::Open
    }

    /// Knocks again and again until something is so.
    pub(crate) fn knock_until(
        &self,
        what: &str,
        sequence: &str,
        mut is_so: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let (client, server) = (self.lab.client(), self.lab.server());
        wait_until(what, SOON, || {
            // Not knocked is told by what is waited for.
            let _ = client.knock(server.ip4(), sequence);
            wait_until(what, Duration::from_millis(500), &mut is_so).is_ok()
        })
    }
}

/// No question was asked: dpkg asks about files, and would have had no answer.
pub(crate) fn assert_nothing_was_asked(output: &str) {
    assert!(!output.contains("onfiguration file '"), "dpkg has asked:\n{output}");
    assert!(!output.contains("warning"), "{output}");
}

/// Neither the daemon runs nor the process that reads for it, which may end a moment later.
pub(crate) fn nothing_runs(machine: &Machine) -> io::Result<()> {
    let reads = || machine.output("pgrep --uid knockd").is_ok_and(|found| found.status.success());
    wait_until("no knockd runs", SOON, || machine.daemon().is_ok_and(|daemon| daemon.is_none()) && !reads())
}

/// What is left of the package on the machine.
pub(crate) fn left_over(machine: &Machine) -> io::Result<String> {
    machine.sh("find / -xdev \\( -name '*knock*' -o -name '*toctoc*' \\) \
         ! -path '/proc/*' ! -path '/srv/*' ! -path '/tmp/*' ! -path '/var/log/apt/*' ! -path '/sys/*' \
         ! -path '/usr/lib/*/xtables/*' ! -path '/usr/share/*' | sort")
}
