use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A doorkeeper with a made-up clock, a disk that may be full, and commands that end when the test says so.
struct Scene {
    keeper: Doorkeeper,
    now: Timestamp,
    running: Vec<Job>,
    disk_full: bool,
    /// What another daemon would go on with.
    journal: HashMap<(DoorKey, Network), Entry>,
    /// Whom the kernel lets in.
    kernel: HashMap<(DoorKey, Network), Option<Timestamp>>,
}

fn address(n: u32) -> IpAddr {
    IpAddr::V4((0xc000_0200 + n).into())
}

fn key(door: &str) -> DoorKey {
    DoorKey { name: door.into(), namesake: 0 }
}

/// What a door of commands does.
fn by_commands(door: &str, from: u32, stop: Option<&str>) -> Opening {
    let source = address(from);
    Opening {
        user: None,
        door: key(door),
        source,
        network: Network::host(source),
        native: false,
        start: Some(format!("open {source}")),
        stop: stop.map(|stop| stop.replace("%IP%", &source.to_string())),
        time: Some(Duration::from_secs(10)),
        by_hand: false,
    }
}

/// What a native door does.
fn by_kernel(door: &str, from: u32, seconds: Option<u64>) -> Opening {
    Opening {
        native: true,
        start: None,
        stop: None,
        time: seconds.map(Duration::from_secs),
        ..by_commands(door, from, None)
    }
}

impl Scene {
    fn new(max_running: usize) -> Self {
        Self {
            keeper: Doorkeeper::new(max_running),
            now: Timestamp::from_millis(1_000_000),
            running: Vec::new(),
            disk_full: false,
            journal: HashMap::new(),
            kernel: HashMap::new(),
        }
    }

    /// Does what is to be done, and tells everything in words.
    fn done(&mut self, actions: Vec<Action>) -> Vec<String> {
        let mut actions = VecDeque::from(actions);
        let mut told = Vec::new();
        while let Some(action) = actions.pop_front() {
            let mut more = Vec::new();
            told.extend(self.act(action, &mut more));
            // What follows from it comes next.
            for action in more.into_iter().rev() {
                actions.push_front(action);
            }
        }
        told
    }

    fn act(&mut self, action: Action, more: &mut Vec<Action>) -> Option<String> {
        match action {
            Action::Record(id, entry) => {
                if !self.disk_full {
                    self.journal.insert((entry.door.clone(), entry.network), entry);
                }
                self.keeper.handle_recorded(id, !self.disk_full, self.now, more);
                None
            }
            Action::Amend(entry) => {
                self.journal.insert((entry.door.clone(), entry.network), entry);
                None
            }
            Action::Forget(door, network) => {
                self.journal.remove(&(door, network));
                None
            }
            Action::Shut(door, network) => {
                self.kernel.remove(&(door, network));
                None
            }
            Action::Open { door, network, until, extended, .. } => {
                let holder = (door.clone(), network);
                assert!(self.journal.contains_key(&holder), "written before it is opened");
                self.kernel.insert(holder, until);
                Some(format!("{network} {door} {}", if extended { "longer" } else { "open" }))
            }
            Action::Run(job) => {
                let told = format!("run {}", job.command);
                self.running.push(job);
                Some(told)
            }
            Action::Closing { door, network, native: false, why: Why::TimeOver, .. } => {
                Some(format!("{network} {door} timeout"))
            }
            Action::Closing { why: Why::Shutdown, .. } => None,
            Action::Closing { door, network, why, .. } => Some(format!("{network} {door} {why:?}")),
            Action::Extended { address, timeout, .. } => Some(format!("{address} +{}", timeout.as_secs())),
            Action::Overloaded { door, .. } => Some(format!("{door} overloaded")),
            Action::Refused { door, address } => Some(format!("{address} {door} refused")),
        }
    }

    fn open(&mut self, opening: Opening) -> Vec<String> {
        let mut actions = Vec::new();
        self.keeper.handle_opening(opening, self.now, &mut actions);
        self.done(actions)
    }

    fn opening_of(&mut self, door: &str, from: u32, stop: Option<&str>) -> Vec<String> {
        self.open(by_commands(door, from, stop))
    }

    fn close(&mut self, door: Option<&str>, network: Option<Network>) -> Vec<String> {
        let mut actions = Vec::new();
        self.keeper.handle_close(door, network, &Why::ByHand, self.now, &mut actions);
        self.done(actions)
    }

    /// Another daemon takes over, after the first was killed.
    fn killed(&mut self) {
        let entries = self.journal.values().cloned();
        let kept = entries.map(|entry| Kept { entry, earlier_boot: false }).collect();
        self.keeper = Doorkeeper::new(8);
        self.running.clear();
        self.keeper.restore(kept);
    }

    /// Whom the kernel lets in now, who should be the same as those that the doorkeeper believes it does.
    fn let_in(&self) -> usize {
        let in_force = |until: &Option<Timestamp>| until.is_none_or(|until| until > self.now);
        let kernel: HashMap<_, _> = self.kernel.iter().filter(|(_, until)| in_force(until)).collect();
        let native = self.keeper.native_grants().filter(|(.., until)| in_force(until)).count();
        assert_eq!(kernel.len(), native);
        native
    }

    fn opening(&mut self, from: u32) -> Vec<String> {
        self.opening_of("ssh", from, Some("close %IP%"))
    }

    fn wait(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        let mut actions = Vec::new();
        self.keeper.handle_timer(self.now, &mut actions);
        self.done(actions)
    }

    fn exit(&mut self, command: &str, exit: Exit) -> Vec<String> {
        let at = self.running.iter().position(|job| job.command == command).expect("it runs");
        let job = self.running.remove(at);
        let mut actions = Vec::new();
        self.keeper.handle_exit(job.id, exit, self.now, &mut actions);
        self.done(actions)
    }

    fn end(&mut self, command: &str) -> Vec<String> {
        self.exit(command, Exit::Ended)
    }

    fn shutdown(&mut self) -> Vec<String> {
        let mut actions = Vec::new();
        self.keeper.handle_shutdown(self.now, &mut actions);
        self.done(actions)
    }

    fn owed(&self) -> usize {
        self.keeper.owed().count()
    }
}

const OPEN: &str = "open 192.0.2.7";
const CLOSE: &str = "close 192.0.2.7";

fn run(command: &str) -> String {
    format!("run {command}")
}

#[test]
fn starts_waits_and_stops() {
    let mut scene = Scene::new(8);
    assert_eq!(scene.opening(7), [run(OPEN)]);
    assert_eq!(scene.keeper.next_deadline(), None, "the time counts from the start command's end");
    scene.wait(3);
    assert_eq!(scene.end(OPEN), [""; 0]);
    assert_eq!(scene.wait(9), [""; 0]);
    assert_eq!(scene.wait(1), ["192.0.2.7 ssh timeout".to_owned(), run(CLOSE)]);
    assert_eq!(scene.owed(), 1);
    assert_eq!(scene.end(CLOSE), [""; 0]);
    assert_eq!((scene.owed(), scene.keeper.next_deadline()), (0, None));
}

#[test]
fn a_door_without_a_stop_command_just_runs() {
    let mut scene = Scene::new(8);
    for _ in 0..2 {
        assert_eq!(scene.opening_of("log", 7, None), [run(OPEN)]);
    }
    assert_eq!(scene.owed(), 0);
}

#[test]
fn a_door_without_commands_does_nothing() {
    let parsed = crate::config::parse("test", b"[log]\nsequence = 7142,8319,9623\n");
    let door = &parsed.config.unwrap().doors[0];
    assert_eq!(Opening::of(door, address(7)), None);
}

#[test]
fn knocking_again_extends() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    assert_eq!(scene.opening(7), ["192.0.2.7 +10"]);
    scene.end(OPEN);
    scene.wait(6);
    assert_eq!(scene.opening(7), ["192.0.2.7 +10"]);
    assert_eq!(scene.wait(9), [""; 0]);
    assert_eq!(scene.wait(1).len(), 2);
}

#[test]
fn knocking_while_it_closes_opens_anew_after_the_stop_command() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    scene.end(OPEN);
    scene.wait(10);
    assert_eq!(scene.opening(7), [""; 0]);
    assert_eq!(scene.end(CLOSE), [run(OPEN)]);
    scene.end(OPEN);
    assert_eq!(scene.wait(10).len(), 2);
}

#[test]
fn addresses_and_doors_are_apart() {
    let mut scene = Scene::new(8);
    assert_eq!(scene.opening(7), [run(OPEN)]);
    assert_eq!(scene.opening(8), ["run open 192.0.2.8"]);
    assert_eq!(scene.opening_of("web", 7, Some("shut")), [run(OPEN)]);
    assert_eq!(scene.owed(), 3);
}

#[test]
fn no_more_than_so_many_run_at_once() {
    let mut scene = Scene::new(2);
    let ran: Vec<_> = (1..=4).flat_map(|from| scene.opening(from)).collect();
    assert_eq!(ran, ["run open 192.0.2.1", "run open 192.0.2.2"]);
    assert_eq!(scene.end("open 192.0.2.2"), ["run open 192.0.2.3"]);
    assert_eq!(scene.end("open 192.0.2.1"), ["run open 192.0.2.4"]);
    scene.wait(9);
    scene.end("open 192.0.2.3");
    assert_eq!(scene.end("open 192.0.2.4"), [""; 0]);
    assert_eq!(scene.wait(1).len(), 4, "1 and 2 time out and their stop commands run");
    assert_eq!(scene.wait(9), ["192.0.2.3 ssh timeout", "192.0.2.4 ssh timeout"]);
    assert_eq!(scene.end("close 192.0.2.1"), ["run close 192.0.2.3"]);
}

#[test]
fn start_commands_that_hang_delay_no_stop_command() {
    let mut scene = Scene::new(2);
    scene.opening(7);
    scene.end(OPEN);
    for _ in 0..3 {
        scene.opening_of("hangs", 8, None);
    }
    assert_eq!(scene.wait(10), ["192.0.2.7 ssh timeout".to_owned(), run(CLOSE)]);
}

#[test]
fn commands_that_hang_delay_no_other_door() {
    let mut scene = Scene::new(1);
    for _ in 0..3 {
        scene.opening_of("hangs", 8, None);
    }
    assert_eq!(scene.opening(7), [run(OPEN)]);
    scene.end(OPEN);
    scene.opening_of("other", 9, Some("hangs too"));
    scene.end("open 192.0.2.9");
    assert_eq!(scene.wait(10).len(), 4);
    assert_eq!(scene.running.iter().filter(|job| job.command == CLOSE).count(), 1);
}

#[test]
fn what_is_opened_anew_is_opened_by_what_is_configured_then() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    scene.end(OPEN);
    scene.wait(10);
    scene.opening_of("ssh", 7, Some("close anew"));
    assert_eq!(scene.end(CLOSE), [run(OPEN)]);
    scene.end(OPEN);
    assert_eq!(scene.wait(10)[1], "run close anew");
}

#[test]
fn too_many_that_wait_are_refused() {
    let mut scene = Scene::new(1);
    for _ in 0..=MAX_WAITING {
        assert!(!scene.opening_of("log", 7, None).contains(&"log overloaded".to_owned()));
    }
    assert_eq!(scene.opening_of("log", 7, None), ["log overloaded"]);
    assert_eq!(scene.opening(7), [run(OPEN)], "another door");
    assert_eq!(scene.owed(), 1);
}

#[test]
fn shutdown_runs_every_stop_command_that_is_owed() {
    let mut scene = Scene::new(3);
    for from in 1..=4 {
        scene.opening(from);
    }
    scene.end("open 192.0.2.1");
    scene.wait(10);
    // 1 is closing or about to, 2 to 4 are still starting, of which one waits.
    assert_eq!(scene.owed(), 4);
    let started = scene.running.iter().filter(|job| job.command.starts_with("open")).count();
    scene.shutdown();
    assert_eq!(scene.owed(), 1 + started);
    while let Some(job) = scene.running.first() {
        let command = job.command.clone();
        scene.end(&command);
    }
    assert_eq!(scene.owed(), 0);
    assert_eq!(scene.opening(9), [""; 0], "nothing opens any more");
}

#[test]
fn a_stop_command_that_could_not_start_is_tried_again() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    scene.end(OPEN);
    scene.wait(10);
    assert_eq!(scene.exit(CLOSE, Exit::NotStarted), [""; 0]);
    assert_eq!(scene.wait(1), [run(CLOSE)]);
    scene.exit(CLOSE, Exit::NotStarted);
    assert_eq!(scene.shutdown(), [run(CLOSE)], "the end does not wait for the next try");
    scene.end(CLOSE);
    assert_eq!((scene.owed(), scene.keeper.next_deadline()), (0, None));
}

#[test]
fn a_knock_while_a_stop_command_cannot_start_opens_behind_it() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    scene.end(OPEN);
    scene.wait(10);
    scene.exit(CLOSE, Exit::NotStarted);
    assert_eq!(scene.opening(7), [""; 0]);
    assert_eq!(scene.wait(1), [run(CLOSE)]);
    assert_eq!(scene.end(CLOSE), [run(OPEN)]);
}

#[test]
fn a_start_command_that_could_not_start_owes_nothing() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    scene.exit(OPEN, Exit::NotStarted);
    assert_eq!(scene.owed(), 0);
    assert_eq!(scene.opening(7), [run(OPEN)]);
}

#[test]
fn a_native_door_opens_at_once_and_closes_after_its_time() {
    let mut scene = Scene::new(8);
    assert_eq!(scene.open(by_kernel("ssh", 7, Some(10))), ["192.0.2.7 ssh open"]);
    assert_eq!((scene.let_in(), scene.journal.len()), (1, 1));
    assert_eq!(scene.wait(9), [""; 0]);
    assert_eq!(scene.open(by_kernel("ssh", 7, Some(10))), ["192.0.2.7 ssh longer"]);
    assert_eq!(scene.wait(9), [""; 0]);
    assert_eq!(scene.let_in(), 1);
    assert_eq!(scene.wait(1), ["192.0.2.7 ssh TimeOver"]);
    assert_eq!((scene.let_in(), scene.journal.len(), scene.keeper.len()), (0, 0, 0));
}

#[test]
fn a_native_door_without_a_time_stays_until_it_is_closed() {
    let mut scene = Scene::new(8);
    scene.open(by_kernel("ssh", 7, None));
    scene.wait(1_000_000);
    scene.killed();
    scene.wait(1_000_000);
    assert_eq!(scene.let_in(), 1);
    assert_eq!(scene.close(Some("web"), None), [""; 0]);
    assert_eq!(scene.close(Some("ssh"), Some(Network::host(address(8)))), [""; 0]);
    assert_eq!(scene.close(Some("ssh"), Some(Network::host(address(7)))), ["192.0.2.7 ssh ByHand"]);
    assert_eq!((scene.let_in(), scene.journal.len()), (0, 0));
}

#[test]
fn a_widened_door_is_closed_by_each_of_its_addresses() {
    let mut scene = Scene::new(8);
    let wide = Opening { network: Network::of(address(7), 24), ..by_kernel("ssh", 7, None) };
    scene.open(wide.clone());
    let other = Opening { source: address(9), ..wide };
    assert_eq!(scene.open(other), ["192.0.2.0/24 ssh longer"]);
    assert_eq!(scene.close(None, Some(Network::host(address(200)))), ["192.0.2.0/24 ssh ByHand"]);
}

#[test]
fn nothing_opens_that_cannot_be_written_down() {
    let mut scene = Scene::new(8);
    scene.disk_full = true;
    assert_eq!(scene.open(by_kernel("ssh", 7, Some(10))), ["192.0.2.7 ssh refused"]);
    assert_eq!(scene.opening(8), ["192.0.2.8 ssh refused"]);
    assert!(scene.keeper.is_empty() && scene.running.is_empty());
    scene.disk_full = false;
    assert_eq!(scene.open(by_kernel("ssh", 7, Some(10))), ["192.0.2.7 ssh open"]);
    scene.wait(5);
    scene.disk_full = true;
    assert_eq!(scene.open(by_kernel("ssh", 7, Some(10))), ["192.0.2.7 ssh refused"]);
    assert_eq!(scene.wait(5), ["192.0.2.7 ssh TimeOver"], "it is not extended either");
}

#[test]
fn a_door_may_be_the_kernels_and_have_commands() {
    let mut scene = Scene::new(8);
    let both = Opening { native: true, ..by_commands("ssh", 7, Some("close %IP%")) };
    assert_eq!(scene.open(both), ["192.0.2.7 ssh open".to_owned(), run(OPEN)]);
    scene.wait(4);
    scene.end(OPEN);
    assert_eq!(
        scene.wait(6),
        ["192.0.2.7 ssh TimeOver".to_owned(), run(CLOSE)],
        "the time counts from the knock"
    );
    assert_eq!((scene.let_in(), scene.journal.len()), (0, 1));
    scene.end(CLOSE);
    assert_eq!(scene.journal.len(), 0);
}

#[test]
fn what_is_closed_while_it_starts_is_stopped_when_it_has_started() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    assert_eq!(scene.close(None, None), [""; 0]);
    assert_eq!(scene.end(OPEN), ["192.0.2.7 ssh ByHand".to_owned(), run(CLOSE)]);
}

#[test]
fn another_daemon_goes_on() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    scene.end(OPEN);
    scene.open(by_kernel("web", 7, Some(30)));
    scene.wait(9);
    scene.killed();
    assert_eq!(scene.wait(0), [""; 0]);
    assert_eq!(scene.let_in(), 1);
    assert_eq!(scene.wait(1), ["192.0.2.7 ssh timeout".to_owned(), run(CLOSE)]);
    // Killed while the stop command runs: nobody knows how far it got.
    scene.killed();
    assert_eq!(scene.wait(0), ["192.0.2.7 ssh timeout".to_owned(), run(CLOSE)]);
    scene.end(CLOSE);
    scene.killed();
    assert_eq!(scene.wait(0), [""; 0]);
    assert_eq!(scene.wait(20), ["192.0.2.7 web TimeOver"]);
}

#[test]
fn what_was_closed_by_hand_is_not_open_again_for_another_daemon() {
    let mut scene = Scene::new(8);
    let both = Opening { native: true, start: None, ..by_commands("ssh", 7, Some("close %IP%")) };
    scene.open(both);
    scene.close(None, None);
    scene.killed();
    assert_eq!(scene.wait(0), ["192.0.2.7 ssh TimeOver".to_owned(), run(CLOSE)]);
}

#[test]
fn a_change_of_the_configuration_ends_what_it_has_no_door_for() {
    let mut scene = Scene::new(8);
    scene.open(by_kernel("ssh", 7, Some(10)));
    scene.open(by_kernel("web", 7, None));
    scene.opening_of("log", 7, Some("close %IP%"));
    let mut actions = Vec::new();
    scene.keeper.handle_change(|door, _| door.name == "web", scene.now, &mut actions);
    assert_eq!(scene.done(actions), ["192.0.2.7 ssh DoorGone"]);
    assert_eq!(scene.keeper.len(), 2, "commands close what they opened when it is due");
}

#[test]
fn native_doors_outlive_the_daemon() {
    let mut scene = Scene::new(8);
    scene.open(by_kernel("ssh", 7, Some(10)));
    assert_eq!(scene.shutdown(), [""; 0]);
    assert_eq!((scene.owed(), scene.let_in(), scene.journal.len()), (0, 1, 1));
}

#[test]
fn what_the_kernel_refuses_is_forgotten() {
    let mut scene = Scene::new(8);
    let mut actions = Vec::new();
    scene.keeper.handle_opening(by_kernel("ssh", 7, None), scene.now, &mut actions);
    let Some(Action::Record(id, _)) = actions.first() else { panic!("{actions:?}") };
    let (id, mut after) = (*id, Vec::new());
    scene.keeper.handle_recorded(id, true, scene.now, &mut after);
    scene.keeper.handle_failed(id, scene.now, &mut after);
    assert!(matches!(after[..], [Action::Open { .. }, Action::Forget(..), Action::Shut(..)]));
    assert!(scene.keeper.is_empty());
}

/// A native door with a stop command.
fn with_stop(seconds: Option<u64>) -> Opening {
    Opening { stop: Some("shut".into()), ..by_kernel("ssh", 7, seconds) }
}

#[test]
fn what_a_command_did_is_undone_where_the_kernel_refuses() {
    for start in [None, Some("open".to_owned())] {
        let mut scene = Scene::new(8);
        let mut actions = Vec::new();
        scene.keeper.handle_opening(Opening { start, ..with_stop(Some(10)) }, scene.now, &mut actions);
        let Action::Record(id, _) = actions.remove(0) else { panic!("{actions:?}") };
        scene.keeper.handle_recorded(id, true, scene.now, &mut actions);
        scene.keeper.handle_failed(id, scene.now, &mut actions);
        actions.retain(|action| !matches!(action, Action::Open { .. }));
        scene.done(actions);
        while let Some(job) = scene.running.first() {
            let command = job.command.clone();
            scene.end(&command);
            assert!(command == "shut" || !scene.running.is_empty(), "{command}");
        }
        assert!(scene.keeper.is_empty() && scene.journal.is_empty());
    }
}

#[test]
fn what_was_closed_stays_closed_for_another_daemon_whatever_ran() {
    // The start command runs.
    let mut scene = Scene::new(8);
    scene.open(Opening { start: Some("hangs".into()), ..with_stop(None) });
    scene.close(Some("ssh"), None);
    scene.killed();
    assert_eq!(scene.wait(0), ["192.0.2.7 ssh TimeOver", "run shut"]);
    assert_eq!(scene.let_in(), 0);
    // The stop command runs, and the journal is written anew.
    let mut scene = Scene::new(8);
    scene.open(with_stop(None));
    scene.close(Some("ssh"), None);
    scene.journal =
        scene.keeper.entries().map(|entry| ((entry.door.clone(), entry.network), entry)).collect();
    scene.killed();
    assert_eq!(scene.wait(0), ["192.0.2.7 ssh TimeOver", "run shut"]);
}

#[test]
fn a_stop_command_that_could_not_start_opens_nothing_again() {
    let mut scene = Scene::new(8);
    scene.open(with_stop(None));
    scene.close(None, None);
    scene.exit("shut", Exit::NotStarted);
    assert_eq!(scene.let_in(), 0);
}

#[test]
fn a_door_of_commands_that_became_native_opens_as_it_is_now() {
    let mut scene = Scene::new(8);
    scene.opening(7);
    scene.end(OPEN);
    assert_eq!(scene.open(by_kernel("ssh", 7, None)), ["192.0.2.7 ssh DoorChanged".to_owned(), run(CLOSE)]);
    assert_eq!(scene.end(CLOSE), ["192.0.2.7 ssh open"]);
    assert_eq!(scene.opening(7), ["192.0.2.7 ssh DoorChanged".to_owned(), run(OPEN)]);
    assert_eq!(scene.let_in(), 0);
}

#[test]
fn a_knock_does_not_shorten_but_an_administrator_may() {
    let mut scene = Scene::new(8);
    let by_hand = |seconds| Opening { by_hand: true, ..by_kernel("ssh", 7, Some(seconds)) };
    scene.open(by_hand(3600));
    scene.open(by_kernel("ssh", 7, Some(10)));
    assert_eq!(scene.wait(3599), [""; 0]);
    scene.open(by_hand(5));
    assert_eq!(scene.wait(5), ["192.0.2.7 ssh TimeOver"]);
    scene.open(by_kernel("ssh", 7, None));
    scene.killed();
    scene.open(by_kernel("ssh", 7, Some(10)));
    assert_eq!(scene.wait(10), ["192.0.2.7 ssh TimeOver"], "the door has an end now");
    scene.open(Opening { time: None, ..by_hand(0) });
    scene.killed();
    scene.open(by_kernel("ssh", 7, Some(10)));
    assert_eq!(scene.wait(1000), [""; 0], "an administrator gave it none");
}

#[test]
fn what_is_being_written_down_is_in_nobodys_doubt() {
    let mut scene = Scene::new(8);
    let mut actions = Vec::new();
    scene.keeper.handle_opening(with_stop(None), scene.now, &mut actions);
    let mut doubt = Vec::new();
    scene.keeper.handle_doubt(scene.now, &mut doubt);
    assert_eq!(doubt, []);
    scene.done(actions);
    assert_eq!((scene.let_in(), scene.journal.len(), scene.keeper.len()), (1, 1, 1));
}

#[test]
fn a_start_command_that_cannot_start_keeps_nobody_out() {
    let mut scene = Scene::new(8);
    scene.open(Opening { start: Some("open".into()), ..with_stop(Some(10)) });
    scene.exit("open", Exit::NotStarted);
    assert_eq!(scene.let_in(), 1);
    assert_eq!(scene.wait(10), ["192.0.2.7 ssh TimeOver"], "and has nothing to stop");
    assert_eq!((scene.journal.len(), scene.keeper.len()), (0, 0));
}

#[test]
fn a_door_is_closed_for_an_address_whomever_it_was_opened_for() {
    let mut scene = Scene::new(8);
    let wide = Opening { network: Network::of(address(7), 20), ..by_kernel("ssh", 7, None) };
    scene.open(wide);
    scene.open(by_kernel("ssh", 9, None));
    scene.open(by_kernel("web", 9, None));
    let mut actions = Vec::new();
    let why = Why::Knocked("done".into());
    scene.keeper.handle_close_for(&key("ssh"), address(9), &why, scene.now, &mut actions);
    assert_eq!(scene.done(actions).len(), 2);
    assert_eq!(scene.keeper.len(), 1);
}

proptest! {
    /// Whatever happens in whatever order: for each address start and stop commands take turns, and in the end
    /// nothing is left open.
    #[test]
    fn start_and_stop_take_turns(
        steps in proptest::collection::vec((0_u8..4, 0_u32..3, any::<prop::sample::Index>()), 0..120),
        limit in 1_usize..4,
    ) {
        let mut scene = Scene::new(limit);
        let mut ran = Vec::new();
        for (what, from, which) in steps {
            let told = match what {
                0 => scene.opening(from),
                1 => scene.wait(u64::from(from) * 4),
                _ if scene.running.is_empty() => continue,
                _ => {
                    let command = scene.running[which.index(scene.running.len())].command.clone();
                    let exit = if what == 3 && from == 0 { Exit::NotStarted } else { Exit::Ended };
                    let told = scene.exit(&command, exit);
                    if exit == Exit::Ended {
                        ran.push(command);
                    }
                    told
                }
            };
            drop(told);
            prop_assert!(scene.running.len() <= 2 * limit);
        }
        scene.shutdown();
        while let Some(job) = scene.running.first() {
            let command = job.command.clone();
            scene.end(&command);
            ran.push(command);
        }
        prop_assert_eq!(scene.owed(), 0);
        for from in 0..3 {
            let of: Vec<_> = ran.iter().filter(|command| command.ends_with(&address(from).to_string())).collect();
            prop_assert_eq!(of.len() % 2, 0);
            for (index, command) in of.into_iter().enumerate() {
                prop_assert_eq!(command.starts_with(["open", "close"][index % 2]), true, "{:?}", ran);
            }
        }
    }
    /// Whatever happens to native doors, and however often the daemon is killed: the kernel lets in who should be, and
    /// in the end everything closes.
    #[test]
    fn the_kernel_and_the_journal_agree(
        steps in proptest::collection::vec((0_u8..7, 0_u32..3, 0_u64..12), 0..120),
    ) {
        let mut scene = Scene::new(8);
        for (what, from, seconds) in steps {
            match what {
                0 => drop(scene.open(by_kernel("ssh", from, Some(seconds + 1)))),
                1 => drop(scene.open(by_kernel("web", from, None))),
                2 => drop(scene.close(Some("web"), Some(Network::host(address(from))))),
                3 => drop(scene.wait(seconds)),
                4 => scene.killed(),
                5 => scene.disk_full = seconds < 3,
                _ => drop(scene.close(None, Some(Network::host(address(from))))),
            }
            scene.let_in();
            let listed = scene.keeper.grants().len();
            prop_assert_eq!(listed, scene.journal.len());
        }
        scene.wait(12);
        scene.close(Some("web"), None);
        prop_assert_eq!((scene.let_in(), scene.journal.len(), scene.keeper.len()), (0, 0, 0));
        prop_assert_eq!(scene.keeper.next_deadline(), None);
    }
}
