//! From starting the program to listening, with what another daemon has left open.

use std::fs;
use std::io;
use std::time::Instant;

use lab::{Daemon, Lab};

use crate::prober::Prober;
use crate::sample::Samples;
use crate::scratch::Scratch;
use crate::seed;
use crate::server::{self, SOON};

/// How many of those let in are looked at after a start.
const SPOT_CHECKS: u32 = 200;

/// A daemon that is killed and started again.
struct Victim {
    count: u32,
    daemon: Daemon,
    lab: Lab,
    prober: Prober,
    samples: Samples,
    /// Its journal, removed when all is over.
    _files: Scratch,
}

impl Victim {
    fn new(count: u32) -> io::Result<Self> {
        let (lab, files) = (server::firewalled()?, Scratch::on_disk()?);
        let state = server::state(files.path());
        fs::create_dir(&state)?;
        seed::write(&state, count)?;
        let config = server::config(true, &server::native(seed::LASTS), files.path());
        let daemon =
            Daemon::of(lab::binary("knockd")?).config(config).args(["-i", "eth0"]).start(lab.server())?;
        let prober = Prober::new(&lab)?;
        Ok(Self { count, daemon, lab, prober, samples: Samples::default(), _files: files })
    }

    fn start_again(&mut self) -> io::Result<()> {
        self.daemon.kill()?;
        // The kernel's table goes as well: as after a reboot, all of it comes from the journal.
        self.lab.server().nft("delete table inet knockd")?;
        let begin = Instant::now();
        self.daemon.start_again(self.lab.server())?;
        let line = self.daemon.wait_for_line("listening on", SOON)?;
        self.samples.add(line.at.saturating_duration_since(begin));
        self.check()
    }

    /// Whether those of the journal are let in, evenly chosen, and nobody else.
    fn check(&self) -> io::Result<()> {
        let step = usize::try_from((self.count / SPOT_CHECKS).max(1)).unwrap_or(1);
        for number in (0..self.count).step_by(step).chain(self.count.checked_sub(1)) {
            let address = seed::address(number);
            if !self.prober.lets_in(address)? {
                return Err(io::Error::other(format!("{address} is not let in after the restart")));
            }
        }
        let stranger = seed::address(self.count);
        if self.prober.lets_in(stranger)? {
            return Err(io::Error::other(format!("{stranger} is let in after the restart")));
        }
        Ok(())
    }
}

/// Measures and prints.
pub(crate) fn run(quick: bool) -> io::Result<()> {
    let (counts, rounds) = if quick { ([0, 1_000, 2_000], 2) } else { ([0, 10_000, 100_000], 20) };
    let mut victims = counts.into_iter().map(Victim::new).collect::<io::Result<Vec<_>>>()?;
    for _ in 0..rounds {
        victims.iter_mut().try_for_each(Victim::start_again)?;
    }
    let Some(empty) = victims.first() else { return Ok(()) };
    println!(
        "| grants in the journal | median | p10 .. p90 | runs | times as long as with none | p10 .. p90 |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    for Victim { count, samples, .. } in &victims {
        println!("| {count} | {} | {} |", samples.cells(), samples.times(&empty.samples));
    }
    println!(
        "\nAfter each start {SPOT_CHECKS} of the addresses were let in, and one that is in no grant was not.\n"
    );
    Ok(())
}
