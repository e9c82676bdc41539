//! Sequences that are good for one knock.

use std::io;
use std::process::Command;

use lab::{Daemon, TempDir};

use crate::reload::reload;
use crate::support::{DROPPING, OPEN, SOON, Scene, count, knock};

const SEQUENCES: &str = "# one line a knock\n 7142,8319,9623\n 1701:udp,2803,3905\n 4007,5109:udp\n";

/// A door with the file of sequences, the client's copy of it, and the file that the daemon marks.
struct OneTime {
    scene: Scene,
    daemon: Daemon,
    copy: TempDir,
    file: TempDir,
}

impl OneTime {
    fn new() -> io::Result<Self> {
        Self::with(SEQUENCES)
    }

    fn with(sequences: &str) -> io::Result<Self> {
        let (file, copy) = (TempDir::new()?, TempDir::new()?);
        let path = file.write("sequences", sequences)?;
        copy.write("sequences", sequences)?;
        let scene = Scene::new(DROPPING)?;
        let config = format!(
            "[options]\nlogfile = {{dir}}/knockd.log\n[SSH]\none_time_sequences = {}\ntcpflags = syn\n{OPEN}",
            path.display()
        );
        let daemon = scene.knockd(&config)?;
        Ok(Self { scene, daemon, copy, file })
    }

    /// The client's knock with its own copy; whether it has succeeded.
    fn knock(&self) -> io::Result<bool> {
        let mut knock = Command::new(knock()?);
        knock.arg("--one-time").arg(self.copy.path().join("sequences")).args(["-d", "20", "10.9.0.1"]);
        Ok(self.scene.guest().output(&mut knock)?.status.success())
    }
}

#[test]
fn client_and_daemon_go_through_their_files_together() -> io::Result<()> {
    let case = OneTime::new()?;
    let (scene, daemon) = (&case.scene, &case.daemon);
    scene.assert_shut(scene.ssh4());
    let lines: Vec<_> = SEQUENCES.lines().collect();
    for used in 1..=3 {
        assert!(case.knock()?);
        scene.assert_opens(scene.ssh4())?;
        scene.expel()?;
        let marked = |(number, line): (usize, &&str)| {
            if (1..=used).contains(&number) { format!("#{}\n", &line[1..]) } else { format!("{line}\n") }
        };
        let expected: String = lines.iter().enumerate().map(marked).collect();
        assert_eq!(case.file.read("sequences"), expected);
        assert_eq!(case.copy.read("sequences"), expected);
    }
    daemon.wait_for_log("no more sequences left", SOON)?;
    daemon.wait_for_log("SSH", SOON)?;
    assert!(!case.knock()?, "the client has sent something though its file is used up");
    // No used sequence opens again, neither does the file's state at a restart.
    for used in ["7142,8319,9623", "1701:udp,2803,3905", "4007,5109:udp"] {
        scene.knock(used)?;
    }
    scene.assert_shut(scene.ssh4());
    assert_eq!(count(daemon, "OPEN SESAME"), 3);
    Ok(())
}

#[test]
fn sniffed_sequence_does_not_open_again() -> io::Result<()> {
    let case = OneTime::new()?;
    let scene = &case.scene;
    assert!(case.knock()?);
    scene.assert_opens(scene.ssh4())?;
    let mark = case.daemon.mark();
    scene.stranger().knock(scene.server().ip4(), "7142,8319,9623")?;
    scene.expel()?;
    scene.knock("7142,8319,9623")?;
    scene.assert_shut(scene.ssh4());
    assert!(!case.daemon.lines()[mark..].iter().any(|line| line.text.contains("Stage")));
    // The next one is as good as ever, and a part of it opens nothing.
    scene.knock("2803,3905")?;
    scene.assert_shut(scene.ssh4());
    assert!(case.knock()?);
    scene.assert_opens(scene.ssh4())
}

/// An administrator adds lines while the daemon runs: the mark lands on the very line that was used.
#[test]
fn file_edited_meanwhile() -> io::Result<()> {
    let case = OneTime::new()?;
    let scene = &case.scene;
    case.file.write("sequences", format!("# edited\n# twice\n{SEQUENCES} 6001,6002\n"))?;
    assert!(case.knock()?);
    scene.assert_opens(scene.ssh4())?;
    scene.expel()?;
    let expected = format!("# edited\n# twice\n{} 6001,6002\n", SEQUENCES.replace(" 7142", "#7142"));
    assert_eq!(case.file.read("sequences"), expected);
    assert!(case.knock()?);
    scene.assert_opens(scene.ssh4())
}

#[test]
fn knocks_of_many_do_not_use_up_a_line() -> io::Result<()> {
    let case = OneTime::new()?;
    let scene = &case.scene;
    // Half a knock, and a wrong one: the line stays good.
    scene.stranger().knock(scene.server().ip4(), "7142,8319")?;
    scene.knock("7142,9623,8319")?;
    scene.assert_shut(scene.ssh4());
    assert_eq!(case.file.read("sequences"), SEQUENCES);
    assert!(case.knock()?);
    scene.assert_opens(scene.ssh4())
}

/// Scripts knock again at once; the sequences change faster than they can.
#[test]
fn knocks_may_follow_each_other_at_once() -> io::Result<()> {
    let sequences: Vec<_> = (0..8).map(|n| format!("{},{}:udp,{}", 7000 + n, 8000 + n, 9000 + n)).collect();
    let lines: String = sequences.iter().map(|sequence| format!(" {sequence}\n")).collect();
    let case = OneTime::with(&lines)?;
    case.scene.knock(&sequences.join(","))?;
    case.daemon.wait_for_lines(sequences.len(), "OPEN SESAME", SOON)?;
    case.scene.assert_opens(case.scene.ssh4())?;
    assert_eq!(case.file.read("sequences"), lines.replace(' ', "#"));
    Ok(())
}

#[test]
fn used_sequence_that_could_not_be_marked_stays_used_at_a_reload() -> io::Result<()> {
    let case = OneTime::new()?;
    let (scene, daemon) = (&case.scene, &case.daemon);
    let (path, aside) = (case.file.path().join("sequences"), case.file.path().join("aside"));
    std::fs::rename(&path, &aside)?;
    assert!(case.knock()?);
    scene.assert_opens(scene.ssh4())?;
    scene.expel()?;
    daemon.wait_for_log("could not be marked as used", SOON)?;
    std::fs::rename(&aside, &path)?;
    reload(daemon)?;
    scene.knock("7142,8319,9623")?;
    scene.assert_shut(scene.ssh4());
    assert!(case.knock()?);
    scene.assert_opens(scene.ssh4())
}
