//! The journal is not what was written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use lab::Daemon;
use serde_json::Value;

use crate::journal;
use crate::support::{
    SOON, Scene, admitted, ask, close_all, config, grants, lines_of, open_by_hand, side_by_side, ssh_door,
    wait_until_agreed, wait_until_nothing_is_open, web_door,
};

const HOUR: u32 = 3600;
/// How many cuts are made before the last record.
const CUTS: usize = 24;

/// A daemon that was killed with a journal of several records.
fn killed(scene: &Scene) -> io::Result<(Daemon, Vec<u8>)> {
    let mut daemon = scene.knockd(&config(&[ssh_door("1h"), web_door("3600")]))?;
    for number in 1..=6 {
        open_by_hand(&daemon, "ssh", &format!("10.20.0.{number}"), HOUR)?;
    }
    scene.open_web(&daemon)?;
    for number in [2, 5] {
        ask(&daemon, &format!(r#"{{"request":"close","address":"10.20.0.{number}"}}"#))?;
    }
    daemon.kill()?;
    let bytes = journal::bytes(&daemon)?;
    Ok((daemon, bytes))
}

/// Who has which door open by what the journal says: in order of writing, the last word on each.
fn expected(bytes: &[u8]) -> io::Result<Vec<(String, String)>> {
    let mut open = BTreeMap::new();
    for record in journal::records(bytes)? {
        let (what, is_open) = match (&record["grant"], &record["end"]) {
            (Value::Null, end) => (end, false),
            (grant, _) => (grant, true),
        };
        open.insert((what["door"].to_string(), what["network"].to_string()), is_open);
    }
    Ok(open.into_iter().filter_map(|(holder, is_open)| is_open.then_some(holder)).collect())
}

fn told(daemon: &Daemon) -> io::Result<Vec<(String, String)>> {
    let grants = grants(daemon)?;
    let mut told: Vec<_> =
        grants.iter().map(|grant| (grant["door"].to_string(), grant["network"].to_string())).collect();
    told.sort();
    Ok(told)
}

#[test]
fn cut_anywhere_what_is_whole_counts() -> io::Result<()> {
    const LANES: usize = 3;
    side_by_side(0..LANES, |lane| {
        let scene = Scene::new()?;
        let (mut daemon, bytes) = killed(&scene)?;
        let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let last = body.iter().rposition(|byte| *byte == b'\n').unwrap_or_default() + 1;
        let spread = (0..CUTS).map(|cut| cut * last / CUTS);
        for cut in spread.chain(last..=bytes.len()).skip(lane).step_by(LANES) {
            let rest = &bytes[..cut];
            journal::put(&daemon, rest)?;
            daemon.directory().write("knockd.log", "")?;
            daemon.start_again(scene.server())?;
            assert_eq!(told(&daemon)?, expected(rest)?, "cut at {cut}:\n{}", daemon.text());
            wait_until_agreed(&daemon, scene.server(), "ssh")?;
            let told = "are no whole record and do not count";
            if !rest.is_empty() && !rest.ends_with(b"\n") {
                daemon.wait_for_log(told, SOON)?;
            } else {
                assert!(!daemon.log().contains(told), "cut at {cut}:\n{}", daemon.log());
            }
            daemon.kill()?;
        }
        Ok(())
    })
}

#[test]
fn with_a_bit_flipped_all_is_closed() -> io::Result<()> {
    let scene = Scene::new()?;
    let (mut daemon, bytes) = killed(&scene)?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
    let web = journal::records(&bytes)?.iter().rposition(|record| record["grant"]["door"] == "web");
    let mut begin = 0;
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let mut flipped = bytes.clone();
        flipped[begin + line.len() / 2] ^= 1 << (number % 8);
        begin += line.len();
        let stops = lines_of(&daemon, "ran").iter().filter(|line| *line == "stop").count();
        journal::put(&daemon, &flipped)?;
        daemon.start_again(scene.server())?;
        let told = format!("line {}: ", number + 1);
        let line = daemon.wait_for_line("all doors that it knows of are closed; it is kept as", SOON)?.text;
        assert!(line.contains(&told) && line.contains("grants.corrupt"), "{line}");
        wait_until_nothing_is_open(&daemon)?;
        assert!(admitted(scene.server(), "ssh")?.is_empty());
        scene.assert_shut();
        assert_eq!(fs::read(daemon.directory().path().join("state/grants.corrupt"))?, flipped);
        // What can be read of it is closed: commands too.
        let known = number != 0 && web.is_none_or(|web| number != web + 1);
        let stopped = lines_of(&daemon, "ran").iter().filter(|line| *line == "stop").count() - stops;
        assert_eq!(stopped, usize::from(known), "line {} of {lines}:\n{}", number + 1, daemon.text());
        scene.open_ssh(&daemon, Duration::from_secs(HOUR.into()))?;
        close_all(&daemon)?;
        daemon.kill()?;
    }
    Ok(())
}
