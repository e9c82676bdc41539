//! Who closes what the trial opened, however the trial ends.

use std::io;
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits until nobody holds its standard input any more, and then closes the door for each address.
const SCRIPT: &str = "program=$1 socket=$2 door=$3; shift 3; cat >/dev/null
for address; do \"$program\" -s \"$socket\" close \"$door\" \"$address\"; done";

/// A process that outlives this one by so much as it takes to close the door: also when this one is killed.
pub(crate) struct Aftermath {
    process: Child,
}

impl Aftermath {
    /// Starts it.
    ///
    /// # Errors
    /// What spawning says.
    pub(crate) fn prepare(socket: &Path, door: &str, addresses: &[IpAddr]) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "knockctl-try"]).arg(std::env::current_exe()?).arg(socket).arg(door);
        command.args(addresses.iter().map(ToString::to_string));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // What a terminal sends to all that run in it, such as Ctrl-C, is not for this one.
        Ok(Self { process: command.process_group(0).spawn()? })
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
