use std::time::Duration;

use knock_core::control::{
    Attempt, AttemptState, Door, Event, EventKind, Grant, GrantState, Interface, Journal, JournalState,
    Overload, ReadingProcess, Seconds, Status,
};
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr as _;

use super::*;
use crate::top::feed::Snapshot;
use crate::top::keys::Key;
use crate::top::paint::Ink;
use crate::top::session::Wanted;

fn seconds(seconds: u64) -> Seconds {
    Seconds(Duration::from_secs(seconds))
}

fn grant(door: &str, network: &str, left: Option<u64>) -> Grant {
    Grant {
        user: None,
        door: door.into(),
        network: network.parse().unwrap(),
        opens: vec!["22/tcp".into()],
        state: GrantState::Open,
        since: "2026-11-24T08:23:01Z".into(),
        left: left.map(seconds),
        by_hand: left.is_none(),
        earlier_boot: false,
    }
}

fn attempt(source: &str, stage: usize) -> Attempt {
    Attempt {
        door: "ssh".into(),
        source: source.parse().unwrap(),
        stage,
        of: 4,
        age: seconds(1),
        left: seconds(9),
        state: AttemptState::UnderWay,
    }
}

fn door() -> Door {
    Door {
        name: "ssh".into(),
        opens: vec!["22/tcp".into()],
        open_for: Some(seconds(20)),
        established: None,
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
        seq_timeout: seconds(10),
        grants: 1,
        strict: true,
        weak: None,
    }
}

fn snapshot(now: Instant, grants: Vec<Grant>, attempts: Vec<Attempt>) -> Snapshot {
    let status = Status {
        version: "0.1.0".into(),
        pid: 4711,
        uptime: seconds(7505),
        config: "/etc/knockd.conf".into(),
        interfaces: vec![Interface { name: "eth0".into(), up: true, addresses: vec![] }],
        warnings: vec![],
        doors: 1,
        grants: grants.len(),
        attempts: attempts.len(),
        reading: ReadingProcess::default(),
        overload: Overload::default(),
        journal: Journal { path: "/x".into(), state: JournalState::Off, message: None },
        native: None,
        pending_confirmation: None,
    };
    Snapshot { taken: now, status, doors: vec![door()], grants, attempts }
}

fn event(message: &str) -> Event {
    Event {
        time: "2026-11-24T08:23:01.123Z".into(),
        door: Some("ssh".into()),
        source: Some("192.0.2.7".parse().unwrap()),
        event: EventKind::Opened,
        message: message.into(),
    }
}

fn text(model: &Model, session: &Session, (columns, rows): (usize, usize), now: Instant) -> String {
    let frame = Frame {
        model: session.shown(model),
        session,
        glyphs: Glyphs::UNICODE,
        columns,
        now: session.moment(now),
    };
    let lines = frame.screen(rows);
    assert_eq!(lines.len(), rows);
    lines.iter().map(|line| format!("{}\n", line.written(columns, Ink::Text).trim_end())).collect()
}

#[test]
fn a_picture() {
    let now = Instant::now();
    let grants = vec![
        grant("ssh", "2001:db8::/56", None),
        grant("ssh", "192.0.2.7", Some(10)),
        grant("ssh", "192.0.2.8", Some(20)),
    ];
    let mut model = Model::new(snapshot(now, grants, vec![attempt("192.0.2.9", 2)]));
    model.add(event("opened for 20 s"), now);
    let mut session = Session::new();
    session.key(Key::Down, &model, now);
    assert_eq!(
        text(&model, &session, (72, 17), now),
        "\x20knockd 0.1.0  up 2 h 5 min                                     eth0 up
 1 door, process 4711
── Open 3 ──────────────────────────────────────────────────────────────
 ▶ ssh  192.0.2.7      22/tcp  ━━━━━━━━━━━━╸────────────          10 s
   ssh  192.0.2.8      22/tcp  ━━━━━━━━━━━━━━━━━━━━━━━━━          20 s
   ssh  2001:db8::/56  22/tcp  opened by hand             until closed
── Knocking 1 ──────────────────────────────────────────────────────────
   ssh  192.0.2.9  ●●○○  2/4    ━━━━━━━━━━━━━━━━━━━━━━━━━━───      9 s
 knocks 0/min ▁▁▁▁▁▁    openings 1/min ▁▁▁▁▁█  refused 0/min ▁▁▁▁▁▁
── Events ──────────────────────────────────────────────────────────────
   08:23:01  192.0.2.7  ssh  opened for 20 s





 q quit  p pause  arrows choose  c close  / filter  ? help
"
    );
    // Time goes by without word from the daemon.
    let later = text(&model, &session, (72, 17), now + Duration::from_secs(5));
    assert!(later.contains("━━━━━━╸──────────────────           5 s"), "{later}");
}

#[test]
fn what_is_looked_for() {
    let now = Instant::now();
    let grants = vec![grant("ssh", "2001:db8::/56", None), grant("ssh", "192.0.2.7", Some(10))];
    let mut model = Model::new(snapshot(now, grants, vec![attempt("192.0.2.9", 2)]));
    model.add(event("opened for 20 s"), now);
    model.add(Event { source: None, door: None, ..event("reloaded") }, now);
    let mut session = Session::new();
    let typed = |session: &mut Session, text: &str| {
        session.key(Key::Letter('/'), &model, now);
        for letter in text.chars() {
            session.key(Key::Letter(letter), &model, now);
        }
        session.key(Key::Enter, &model, now);
        self::text(&model, session, (80, 24), now)
    };
    let seven = typed(&mut session, "2.7");
    assert!(
        seven.contains("Open 1") && seven.contains("Knocking 0") && !seven.contains("reloaded"),
        "{seven}"
    );
    assert!(seven.contains("opened for") && seven.contains("nobody who fits the filter"), "{seven}");
    session.key(Key::Escape, &model, now);
    let within = typed(&mut session, "2001:db8::77");
    assert!(within.contains("2001:db8::/56") && !within.contains("192.0.2"), "{within}");
    session.key(Key::Letter('/'), &model, now);
    session.key(Key::Backspace, &model, now);
    session.key(Key::Escape, &model, now);
    assert_eq!(session.filter, "2001:db8::77");
    session.key(Key::Escape, &model, now);
    assert!(text(&model, &session, (80, 24), now).contains("Open 2"));
}

#[test]
fn what_is_closed_is_asked_first() {
    let now = Instant::now();
    let grants = vec![grant("ssh", "192.0.2.7", Some(10)), grant("ssh", "192.0.2.8", Some(20))];
    let mut model = Model::new(snapshot(now, grants, vec![]));
    let mut session = Session::new();
    assert_eq!(session.key(Key::Letter('c'), &model, now), None, "none is chosen");
    assert!(text(&model, &session, (80, 24), now).contains("nothing is open that could be closed"));
    for key in [Key::Down, Key::Down, Key::Letter('c')] {
        assert_eq!(session.key(key, &model, now), None);
    }
    assert!(text(&model, &session, (80, 24), now).contains("Close ssh for 192.0.2.8?"));
    assert_eq!(session.key(Key::Letter('n'), &model, now), None);
    session.key(Key::Letter('c'), &model, now);
    let Some(Wanted::Close(grant)) = session.key(Key::Letter('y'), &model, now) else { panic!("not closed") };
    assert_eq!(grant.network.to_string(), "192.0.2.8");
    // Another that comes before it is not chosen for it.
    model.update(snapshot(now, vec![self::grant("ssh", "192.0.2.9", Some(1))], vec![]));
    assert_eq!(session.key(Key::Letter('c'), &model, now), None);
    assert!(session.word.as_ref().is_some_and(Result::is_err));
}

#[test]
fn a_pause_holds_the_picture() {
    let now = Instant::now();
    let mut model = Model::new(snapshot(now, vec![grant("ssh", "192.0.2.7", Some(10))], vec![]));
    let mut session = Session::new();
    session.key(Key::Letter('p'), &model, now);
    let then = text(&model, &session, (80, 24), now);
    model.lose("it is gone".into());
    model.add(event("opened for 20 s"), now);
    assert_eq!(text(&model, &session, (80, 24), now + Duration::from_secs(5)), then);
    assert!(then.contains("PAUSED"));
    session.key(Key::Letter('p'), &model, now);
    let gone = text(&model, &session, (80, 24), now);
    assert!(gone.contains("is gone, waiting for it") && gone.contains("not known"), "{gone}");
}

#[test]
fn what_is_wrong_is_told() {
    let now = Instant::now();
    let mut snapshot = snapshot(now, vec![], vec![]);
    snapshot.status.warnings = ["one", "two\u{1b}[2J", "three"].map(String::from).into();
    snapshot.status.interfaces[0].up = false;
    snapshot.status.overload.packets_lost = 7;
    snapshot.status.pending_confirmation = Some(seconds(42));
    let told = text(&Model::new(snapshot), &Session::new(), (100, 24), now);
    for part in [" ! one", " ! two\\u{1b}[2J", "and 1 more", "eth0 down", "overload: 7", "in 42 s"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_screen_is_too_small(
        columns in 0..200_usize,
        rows in 1..60_usize,
        grants in 0..40_u8,
        attempts in 0..40_u8,
        keys in proptest::collection::vec("[cpjkhq/y?.:0-9]|\\r|\u{1b}|\u{1b}\\[[ABHF]|\u{1b}\\[[56]~", 0..20),
        gone: bool,
        name in ".{1,20}",
    ) {
        let now = Instant::now();
        let left = |number: u8| (!number.is_multiple_of(3)).then(|| u64::from(number) * 100);
        let grants = (0..grants).map(|number| grant(&name, &format!("192.0.2.{number}"), left(number)));
        let attempts = (0..attempts).map(|number| attempt(&format!("2001:db8::{number}"), 1 + usize::from(number % 4)));
        let mut model = Model::new(snapshot(now, grants.collect(), attempts.collect()));
        for number in 0..50 {
            model.add(event(&format!("{name} {number}")), now);
        }
        if gone {
            model.lose(name.clone());
        }
        let mut session = Session::new();
        for bytes in keys {
            for key in crate::top::keys::Keyboard::default().read(bytes.as_bytes()) {
                session.key(key, &model, now);
            }
        }
        let frame = Frame { model: &model, session: &session, glyphs: Glyphs::UNICODE, columns, now };
        let lines = frame.screen(rows);
        prop_assert_eq!(lines.len(), rows);
        for line in lines {
            let written = line.written(columns, Ink::Text);
            prop_assert!(written.width() <= columns && !written.contains(char::is_control), "{written:?}");
        }
        if let Some(chosen) = session.chosen_of(&model) {
            prop_assert!(session.grants(&model).any(|grant| crate::top::model::GrantKey::of(grant) == chosen));
        }
    }
}
