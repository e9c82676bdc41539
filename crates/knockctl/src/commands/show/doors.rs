//! `knockctl doors`.

use knock_core::control::{Door, DoorSecret};

use crate::output::printable;
use crate::table::{list, table};
use crate::times;

/// The doors as a table, and below it the secrets that were asked for.
pub(super) fn text(doors: &[Door]) -> String {
    if doors.is_empty() {
        return "There are no doors.\n".into();
    }
    let headings = ["DOOR", "KNOCKS", "WITHIN", "OPENS", "FOR", "OPEN", "REMARKS"];
    let rows: Vec<_> = doors.iter().map(row).collect();
    doors.iter().fold(table(headings, &rows), |text, door| text + &secrets(door))
}

fn row(door: &Door) -> [String; 7] {
    let is_native = !door.opens.is_empty();
    let open_for = match door.open_for {
        Some(time) => times::exact(time),
        None if is_native => "until closed".into(),
        None => door.cmd_timeout.map(times::exact).unwrap_or_default(),
    };
    let (knocks, within) = match door.secret {
        Some(DoorSecret::Keys) => ("SSH key".into(), String::new()),
        Some(DoorSecret::Fwknop) => ("fwknop".into(), String::new()),
        _ => (door.steps.to_string(), times::exact(door.seq_timeout)),
    };
    [
        door.name.clone(),
        knocks,
        within,
        door.opens.join(", "),
        open_for,
        door.grants.to_string(),
        remarks(door).join(", "),
    ]
}

fn remarks(door: &Door) -> Vec<String> {
    let allowed: Vec<_> = door.allow_from.iter().map(ToString::to_string).collect();
    let one_time = door.one_time.then(|| match door.sequences_left {
        Some(left) => format!("one-time, {left} left"),
        None => "one-time".into(),
    });
    let keys = door.keys.map(|keys| match keys {
        0 => "no key: nobody can knock".to_owned(),
        1 => "1 key".into(),
        keys => format!("{keys} keys"),
    });
    let remarks = [
        door.runs_commands.then(|| "runs commands".into()),
        door.closes.as_ref().map(|closed| format!("closes {closed}")),
        door.widen.as_ref().map(|widen| format!("for the prefix {widen}")),
        door.established.as_ref().filter(|what| *what == "cut").map(|_| "cuts connections".into()),
        (!allowed.is_empty()).then(|| format!("from {} only", allowed.join(" "))),
        door.target.map(|target| format!("knocked at {target}")),
        one_time,
        (door.secret == Some(DoorSecret::Rolling)).then(|| "rolling".into()),
        keys,
        door.weak.as_ref().map(|why| format!("weak: {why}")),
    ];
    remarks.into_iter().flatten().collect()
}

fn secrets(door: &Door) -> String {
    let commands = door.commands.clone().unwrap_or_default();
    let known = [
        ("    sequence", door.sequence.as_ref().map(|sequence| sequence.join(","))),
        ("    start_command", commands.start),
        ("    stop_command", commands.stop),
        ("    start_command_6", commands.start_6),
        ("    stop_command_6", commands.stop_6),
    ];
    let rows: Vec<_> =
        known.into_iter().filter_map(|(name, value)| value.map(|value| [name.to_owned(), value])).collect();
    if rows.is_empty() { String::new() } else { format!("\n{}\n{}", printable(&door.name), list(&rows)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use knock_core::control::{Commands, Seconds};

    use super::*;

    fn native() -> Door {
        Door {
            name: "ssh".into(),
            opens: vec!["22/tcp".into()],
            open_for: Some(Seconds(Duration::from_secs(10))),
            established: Some("keep".into()),
            widen: None,
            allow_from: vec![],
            closes: None,
            runs_commands: false,
            cmd_timeout: None,
            target: None,
            secret: None,
            keys: None,
            one_time: false,
            sequences_left: None,
            steps: 4,
            sequence: None,
            commands: None,
            seq_timeout: Seconds(Duration::from_secs(25)),
            grants: 1,
            strict: true,
            weak: None,
        }
    }

    fn commands() -> Door {
        Door {
            name: "web".into(),
            opens: vec![],
            open_for: None,
            established: None,
            runs_commands: true,
            cmd_timeout: Some(Seconds(Duration::from_millis(90_500))),
            steps: 3,
            grants: 0,
            ..native()
        }
    }

    #[test]
    fn doors_are_a_table() {
        let with_all = Door {
            name: "vault".into(),
            open_for: None,
            established: Some("cut".into()),
            widen: Some("24/56".into()),
            allow_from: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            closes: Some("ssh".into()),
            target: Some("192.0.2.20".parse().unwrap()),
            one_time: true,
            sequences_left: Some(12),
            strict: true,
            weak: Some("fewer than three ports".into()),
            ..native()
        };
        assert_eq!(
            text(&[native(), commands(), with_all]),
            "\
DOOR   KNOCKS  WITHIN  OPENS   FOR                OPEN  REMARKS
ssh    4       25 s    22/tcp  10 s               1
web    3       25 s            1 min 30 s 500 ms  0     runs commands
vault  4       25 s    22/tcp  until closed       1     closes ssh, for the prefix 24/56, cuts connections, \
from 192.0.2.0/24 2001:db8::/32 only, knocked at 192.0.2.20, one-time, 12 left, weak: fewer than three ports
"
        );
        assert_eq!(text(&[]), "There are no doors.\n");
    }

    #[test]
    fn doors_say_what_opens_them() {
        let with = |name: &str, secret, keys| Door {
            name: name.into(),
            secret: Some(secret),
            keys,
            steps: if secret == DoorSecret::Rolling { 4 } else { 0 },
            ..native()
        };
        assert_eq!(
            text(&[
                with("ssh", DoorSecret::Keys, Some(2)),
                with("new", DoorSecret::Keys, Some(0)),
                with("phone", DoorSecret::Rolling, None),
                with("old", DoorSecret::Fwknop, None),
            ]),
            "\
DOOR   KNOCKS   WITHIN  OPENS   FOR   OPEN  REMARKS
ssh    SSH key          22/tcp  10 s  1     2 keys
new    SSH key          22/tcp  10 s  1     no key: nobody can knock
phone  4        25 s    22/tcp  10 s  1     rolling
old    fwknop           22/tcp  10 s  1
"
        );
    }

    #[test]
    fn secrets_stand_below() {
        let sequence = Some(vec!["7142:tcp".into(), "8319:udp".into()]);
        let start = Some("/bin/echo %IP%\n".into());
        let secret = Some(Commands { start, ..Commands::default() });
        assert_eq!(
            text(&[
                Door { sequence: sequence.clone(), ..native() },
                Door { sequence, commands: secret, ..commands() },
            ]),
            "\
DOOR  KNOCKS  WITHIN  OPENS   FOR                OPEN  REMARKS
ssh   4       25 s    22/tcp  10 s               1
web   3       25 s            1 min 30 s 500 ms  0     runs commands

ssh
    sequence  7142:tcp,8319:udp

web
    sequence       7142:tcp,8319:udp
    start_command  /bin/echo %IP%\\n
"
        );
    }
}
