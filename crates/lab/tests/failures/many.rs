//! Ten thousand grants at once.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use lab::Daemon;
use serde_json::json;

use crate::disk::Disk;
use crate::journal;
use crate::support::{
    SOON, Scene, Term, admitted, config, count, grants, open_by_hand, ssh_door, wait_until_agreed,
    wait_until_nothing_is_open,
};

const MANY: u32 = 10_000;
/// How much memory the daemon may have used with them, in KiB; of a build that is not optimized.
const MEMORY: u64 = 128 * 1024;
const LEFT: Duration = Duration::from_secs(5);

fn address(number: u32) -> String {
    format!("10.{}.{}.{}", 20 + number / 62_500, number / 250 % 250, number % 250 + 1)
}

/// The most memory that the daemon has used so far, in KiB.
fn memory(daemon: &Daemon) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no VmHWM in\n{status}")))
}

/// Has them all end at one moment; the daemon must not run.
fn end_all_at_once(disk: &Disk) -> io::Result<Term> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let before = Instant::now();
    let now = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0_u64);
    let until = (now + LEFT.as_secs()) * 1_000_000_000;
    let mut records = journal::records(&fs::read(disk.journal())?)?;
    for record in &mut records {
        record["grant"]["until"]["boot"] = json!(until);
    }
    fs::write(disk.journal(), journal::encode(&records))?;
    // The uptime was cut to whole seconds.
    Ok(Term::new(before - Duration::from_secs(1), before, LEFT))
}

#[test]
fn ten_thousand_at_once() -> io::Result<()> {
    let (scene, disk) = (Scene::new()?, Disk::new(64 * 1024)?);
    let mut daemon = disk.knockd()?.config(config(&[ssh_door("1h")])).start(scene.server())?;
    let many = MANY as usize;
    scene.guarded(|| {
        for number in 0..MANY {
            let answer = open_by_hand(&daemon, "ssh", &address(number), 3600)?;
            assert_eq!(answer["answer"], "done", "{number}: {answer}");
        }
        wait_until_agreed(&daemon, scene.server(), "ssh")?;
        assert_eq!((grants(&daemon)?.len(), count(&daemon, "ssh: opened 22/tcp for 3600 s")), (many, many));
        assert!(memory(&daemon)? < MEMORY, "{} KiB", memory(&daemon)?);
        daemon.kill()?;
        let stay = || admitted(scene.server(), "ssh").is_ok_and(|admitted| admitted.len() == many);
        lab::wait_until("all are let in without a daemon", SOON, stay)?;
        daemon.start_again(scene.server())?;
        daemon.wait_for_log("still open from before: 10000", SOON)?;
        wait_until_agreed(&daemon, scene.server(), "ssh")?;
        daemon.kill()?;
        let term = end_all_at_once(&disk)?;
        daemon.start_again(scene.server())?;
        assert!(grants(&daemon)?.len() == many || !term.runs(), "{} are left", grants(&daemon)?.len());
        wait_until_nothing_is_open(&daemon)?;
        assert!(!term.runs(), "closed too early");
        // Not even where word of so many changes gets lost.
        assert_eq!(count(&daemon, "somebody changed the table"), 0, "nobody did");
        assert_eq!(admitted(scene.server(), "ssh")?.len(), 0);
        daemon.wait_for_lines(many, "ssh: closed: its time is over", SOON)?;
        assert_eq!(count(&daemon, "ssh: closed: its time is over"), many);
        assert!(memory(&daemon)? < MEMORY, "{} KiB", memory(&daemon)?);
        scene.assert_shut();
        Ok(())
    })
}
