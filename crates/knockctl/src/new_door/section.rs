//! The door as the configuration has it, and the configuration with the door.

use knock_core::config::{Config, Door, Parsed, PortRange};
use knock_core::sequence::Step;

use super::sequence::written;
use super::wish::Wish;
use crate::failure::Failure;

/// How many seconds a sequence may take: long enough for a slow network, too short to try what is left.
const SEQ_TIMEOUT: u32 = 10;
/// What a configuration begins with where there was none.
const OPTIONS: &str = "[options]\n    UseSyslog\n\n";

/// The door's section.
pub(super) fn section(wish: &Wish, steps: &[Step]) -> String {
    let ports: Vec<_> = wish.open.0.iter().map(ToString::to_string).collect();
    format!(
        "[{}]\n    sequence    = {}\n    seq_timeout = {SEQ_TIMEOUT}\n    tcpflags    = syn\n    open        = {}\n    \
         open_for    = {}\n",
        wish.name,
        steps.iter().map(written).collect::<Vec<_>>().join(","),
        ports.join(", "),
        wish.open_for
    )
}

/// The configuration with the section behind all else, which stays as it is; with line ends as they are there.
pub(super) fn appended(before: Option<&[u8]>, section: &str) -> Vec<u8> {
    let Some(before) = before else { return format!("{OPTIONS}{section}").into_bytes() };
    let is_dos = before.windows(2).any(|two| two == b"\r\n");
    let end = if is_dos { "\r\n" } else { "\n" };
    let gap = match before {
        [] => String::new(),
        [.., b'\n'] => end.to_owned(),
        _ => format!("{end}{end}"),
    };
    [before, gap.as_bytes(), section.replace('\n', end).as_bytes()].concat()
}

/// Refuses what does not go with the doors that are there already.
pub(super) fn check(wish: &Wish, parsed: &Parsed, config: &Config) -> Result<(), Failure> {
    let place = |door: &Door| {
        let span = door.open_span.as_ref().unwrap_or(&door.secret_span);
        format!("{}:{}", parsed.source.name(), parsed.source.position(span.start).0)
    };
    if let Some(door) = config.doors.iter().find(|door| door.key.name == wish.name) {
        let found = format!("there is a door \"{}\" already ({})", wish.name, place(door));
        return Err(Failure::Refused(format!("{found}: choose another name, or change that one by hand")));
    }
    if let Some((door, step)) = config.doors.iter().find_map(|door| Some((door, knocked(door, wish)?))) {
        return Err(Failure::Refused(format!(
            "{step} is knocked at for the door \"{}\" ({}): what comes to an open port would count as a knock; open another \
             port, or change that sequence",
            door.key,
            place(door)
        )));
    }
    let of_ours = |door: &&Door| door.target.is_none();
    for door in config.doors.iter().filter(of_ours).filter(|_| !wish.shared) {
        let mut theirs = door.native.iter().flat_map(|native| &native.ports);
        let is_ours = |port: &&PortRange| wish.open.0.iter().any(|ours| ours.overlaps(**port));
        if let Some(port) = theirs.find(is_ours) {
            return Err(Failure::Refused(format!(
                "the door \"{}\" opens {port} already ({}): with --shared another one may as well",
                door.key,
                place(door)
            )));
        }
    }
    Ok(())
}

/// A port that a door is knocked at and that the new one is to open.
fn knocked(door: &Door, wish: &Wish) -> Option<Step> {
    let sequence = door.secret.fixed()?;
    let is_opened = |step: &&Step| wish.open.0.iter().any(|range| range.contains(step.protocol, step.port));
    sequence.steps().iter().find(is_opened).copied()
}

/// Whether a configuration is the old one and this door: the last look before it is written.
pub(super) fn is_what_was_meant(before: &Config, after: &Config, wish: &Wish, steps: &[Step]) -> bool {
    let Some((new, others)) = after.doors.split_last() else { return false };
    let is_it = new.key.name == wish.name
        && new.key.namesake == 0
        && new.native.as_ref().is_some_and(|native| native.ports == wish.open.0)
        && new.secret.fixed().is_some_and(|sequence| sequence.steps() == steps);
    is_it && others.iter().map(|door| &door.key).eq(before.doors.iter().map(|door| &door.key))
}

/// How many ports are enough: where other ports end an attempt a scan opens nothing, else a shuffled one opens a door of
/// four once in 24 times, of six once in 720.
pub(super) fn enough(strict: Option<bool>) -> usize {
    if strict == Some(false) { 6 } else { 4 }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use knock_core::config::parse;
    use proptest::prelude::*;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        wish: Wish,
    }

    fn wish(line: &str) -> Wish {
        Line::parse_from(std::iter::once("new-door").chain(line.split(' '))).wish
    }

    fn steps(text: &str) -> Vec<Step> {
        text.split(',').map(|step| Step::parse(step).unwrap()).collect()
    }

    const SSH: &str = "\
[ssh]
    sequence    = 7142,8319:udp,5623,9215:udp
    seq_timeout = 10
    tcpflags    = syn
    open        = 22/tcp, 60000-61000/udp
    open_for    = 1m
";

    fn ssh() -> String {
        section(&wish("ssh --open 22,60000-61000/udp --open-for 1m"), &steps("7142,8319:udp,5623,9215:udp"))
    }

    #[test]
    fn a_section() {
        assert_eq!(ssh(), SSH);
        let alone = appended(None, SSH);
        assert_eq!(String::from_utf8(alone.clone()).unwrap(), format!("{OPTIONS}{SSH}"));
        let parsed = parse("x", &alone);
        assert_eq!(parsed.diagnostics, []);
        let config = parsed.config.unwrap();
        assert!(is_what_was_meant(
            &Config::default(),
            &config,
            &wish("ssh --open 22,60000-61000/udp"),
            &steps("7142,8319:udp,5623,9215:udp")
        ));
    }

    #[test]
    fn what_was_there_stays_byte_for_byte() {
        for (before, gap) in [("", ""), ("[a]\nsequence = 1", "\n\n"), ("# x\n", "\n")] {
            let after = appended(Some(before.as_bytes()), SSH);
            assert_eq!(String::from_utf8(after).unwrap(), format!("{before}{gap}{SSH}"));
        }
        let after = appended(Some(b"[options]\r\n"), SSH);
        assert_eq!(after, format!("[options]\n\n{SSH}").replace('\n', "\r\n").into_bytes());
    }

    proptest! {
        #[test]
        fn whatever_was_there_the_door_is_the_last_of_it(before in "(\\[[a-z]{1,3}\\]\r?\n(sequence = [1-9]{3},[1-9]{3}|# x|)\r?\n?){0,4}") {
            let after = appended(Some(before.as_bytes()), SSH);
            prop_assert!(after.starts_with(before.as_bytes()));
            let (before, after) = (parse("x", before.as_bytes()), parse("x", &after));
            if let Some(config) = before.config {
                let wish = wish("ssh --open 22,60000-61000/udp");
                prop_assume!(check(&wish, &after, &config).is_ok());
                let steps = steps("7142,8319:udp,5623,9215:udp");
                prop_assert!(is_what_was_meant(&config, &after.config.unwrap(), &wish, &steps));
            }
        }
    }

    #[test]
    fn what_does_not_go_with_the_other_doors() {
        let text = "[a]\nsequence = 1,2,3\nopen = 22/tcp\n[b]\nsequence = 4,5,6\nopen = 80/tcp\ntarget = 192.0.2.9\n";
        let parsed = parse("knockd.conf", text.as_bytes());
        let config = parsed.config.clone().unwrap();
        let refused = |line| match check(&wish(line), &parsed, &config) {
            Err(Failure::Refused(why)) => why,
            other => panic!("{line}: {other:?}"),
        };
        assert!(refused("a --open 23").contains("there is a door \"a\" already (knockd.conf:3)"));
        assert!(refused("c --open 20-25").contains("the door \"a\" opens 22/tcp already (knockd.conf:3)"));
        assert!(refused("c --open 5 --shared").contains("5:tcp is knocked at for the door \"b\""));
        for fine in
            ["c --open 23", "c --open 5/udp", "c --open 22/udp", "c --open 22 --shared", "c --open 80"]
        {
            check(&wish(fine), &parsed, &config).unwrap();
        }
    }
}
