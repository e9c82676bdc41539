//! Doors without `open_for`: open until something closes them.

use std::io;
use std::time::{Duration, Instant};

use lab::Signal;

use crate::support::{
    SOON, Scene, TO_SSH, Term, admitted, ask, config, grants, side_by_side, ssh_door,
    wait_until_nothing_is_open,
};

const DONE: &str = "[done]\nsequence = 4007,3905\ntcpflags = syn\nclose = ssh\n";
/// Another door to the same port, which therefore stays guarded.
const OTHER: &str = "[other]\nsequence = 9001,9002\ntcpflags = syn\nopen = 22/tcp\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Knock,
    Administrator,
    DoorRemoved,
    Widened,
    WidenedAtRestart,
}

impl Ending {
    /// What the log says of it.
    fn reason(self) -> &'static str {
        match self {
            Self::Knock => "closed: by knocking at done",
            Self::Administrator => "closed: by an administrator",
            Self::DoorRemoved | Self::Widened | Self::WidenedAtRestart => {
                "closed: the configuration no longer has this door"
            }
        }
    }
}

#[test]
fn stays_until_it_is_closed() -> io::Result<()> {
    use Ending::{Administrator, DoorRemoved, Knock, Widened, WidenedAtRestart};
    side_by_side([Knock, Administrator, DoorRemoved, Widened, WidenedAtRestart], |ending| {
        let scene = Scene::new()?;
        let mut daemon = scene.knockd(&config(&[ssh_door(""), DONE.into(), OTHER.into()]))?;
        scene.guarded(|| {
            scene.knock(TO_SSH)?;
            daemon.wait_for_line("10.9.1.1: ssh: opened 22/tcp until it is closed", SOON)?;
            assert!(scene.gets_in(), "{}", daemon.text());
            for signal in [Signal::TERM, Signal::KILL] {
                daemon.signal(signal)?;
                daemon.wait_exit(SOON)?;
                assert!(scene.gets_in(), "closed by {signal:?}");
                daemon.start_again(scene.server())?;
                let grants = grants(&daemon)?;
                assert!(grants.len() == 1 && grants[0]["left_seconds"].is_null(), "{grants:?}");
                assert!(scene.gets_in(), "{}", daemon.text());
            }
            let widened = ssh_door("") + "widen = 24\n";
            match ending {
                Knock => scene.knock("4007,3905")?,
                Administrator => {
                    let done = ask(&daemon, r#"{"request":"close","door":"ssh","address":"10.9.1.1"}"#)?;
                    assert_eq!(done["message"], "1 grant of ssh for 10.9.1.1 ended");
                }
                DoorRemoved => {
                    daemon.write_config(&config(&[OTHER.into()]))?;
                    daemon.signal(Signal::HUP)?;
                }
                Widened => {
                    daemon.write_config(&config(&[widened, OTHER.into()]))?;
                    daemon.signal(Signal::HUP)?;
                }
                WidenedAtRestart => {
                    daemon.write_config(&config(&[widened, OTHER.into()]))?;
                    daemon.kill()?;
                    daemon.start_again(scene.server())?;
                }
            }
            daemon.wait_for_line(ending.reason(), SOON)?;
            wait_until_nothing_is_open(&daemon)?;
            scene.assert_shut();
            daemon.kill()?;
            daemon.start_again(scene.server())?;
            assert!(grants(&daemon)?.is_empty(), "{ending:?}: open again");
            assert!(ending == DoorRemoved || admitted(scene.server(), "ssh")?.is_empty());
            scene.assert_shut();
            Ok(())
        })
    })
}

/// An end that was set later counts.
#[test]
fn knock_after_a_reload_gives_it_an_end() -> io::Result<()> {
    const OPEN_FOR: Duration = Duration::from_secs(3);
    let scene = Scene::new()?;
    let daemon = scene.knockd(&config(&[ssh_door("")]))?;
    scene.knock(TO_SSH)?;
    daemon.wait_for_line("opened 22/tcp until it is closed", SOON)?;
    daemon.write_config(&config(&[ssh_door("3s")]))?;
    let mark = daemon.mark();
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_line_after(mark, "re-reading config file", SOON)?;
    let before = Instant::now();
    scene.knock(TO_SSH)?;
    daemon.wait_for_line_after(mark, "ssh: still open, for another 3 s", SOON)?;
    let term = Term::new(before, Instant::now(), OPEN_FOR);
    scene.assert_closes_in_time(&term);
    wait_until_nothing_is_open(&daemon)
}
