//! What the figures were measured on.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

/// Kernel and processors, in a line.
pub(crate) fn describe() -> String {
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = available_parallelism().map_or(0, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let kind = if Path::new("/sys/hypervisor").exists() || info.contains("hypervisor") {
        ", a virtual machine"
    } else {
        ""
    };
    format!("Linux {kernel}, {cores} processors ({model}){kind}.")
}

/// How often [`rest`] has waited in vain.
static RESTLESS: AtomicU32 = AtomicU32::new(0);

/// Waits until nothing else runs on the machine, for a while at a stretch; not for ever.
pub(crate) fn rest() {
    /// How long nothing may run, in looks.
    const LOOKS: u32 = 5;
    const PAUSE: Duration = Duration::from_millis(4);
    const PATIENCE: Duration = Duration::from_secs(10);
    let begin = Instant::now();
    let mut quiet = 0;
    while quiet < LOOKS && begin.elapsed() < PATIENCE {
        thread::sleep(PAUSE);
        quiet = if running() > 1 { 0 } else { quiet + 1 };
    }
    if quiet < LOOKS {
        RESTLESS.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often something else still ran since this was last asked.
pub(crate) fn disturbances() -> u32 {
    RESTLESS.swap(0, Ordering::Relaxed)
}

/// How many threads want a processor at this moment; one is this.
fn running() -> u32 {
    let load = read("/proc/loadavg");
    let running = load.split(' ').nth(3).and_then(|threads| threads.split('/').next()?.parse().ok());
    running.unwrap_or_default()
}

/// The load averages of one, five and fifteen minutes.
pub(crate) fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
