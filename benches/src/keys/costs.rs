//! What each step of a knock takes, in this very process.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use knock_core::ledger::LINE;
use knock_core::spa::{DoorRules, HostKey, Opened, Supported, judge, open, passes_gate, read_keys};
use lab::Random;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::time::{ClockId, clock_gettime};

use super::knocker::{User, now};
use crate::machine;
use crate::opening::Bare;
use crate::sample::Samples;
use crate::scratch::Scratch;

/// Something that takes less than a microsecond is done so often between two looks at the clock.
const MANY: u32 = 10_000;
const SOME: u32 = 20;

/// The kinds of keys, and what they are called.
pub(super) const KINDS: [(&str, Supported); 4] = [
    ("ed25519", Supported::Ed25519),
    ("ecdsa-p256", Supported::EcdsaP256),
    ("sk-ed25519", Supported::SkEd25519),
    ("sk-ecdsa-p256", Supported::SkEcdsaP256),
];

/// Measures and prints.
pub(super) fn run(quick: bool) -> io::Result<()> {
    let runs = if quick { 2 } else { 100 };
    println!("| step, in process | median | p10 .. p90 | runs | a second on one processor |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    gates(runs)?;
    judgements(runs)?;
    for place in [Scratch::on_disk()?, Scratch::in_memory()?] {
        appends(&place, runs)?;
    }
    elements(runs)?;
    println!();
    Ok(())
}

fn gates(runs: usize) -> io::Result<()> {
    let host = HostKey::from_random(&[7; 32]);
    let user = User::new(Supported::Ed25519, 1)?;
    let knock = user.knock("door", host.public())?;
    let mut junk = knock;
    let mut random = Random::new(1);
    junk.chunks_mut(8).for_each(|piece| piece.copy_from_slice(&random.next().to_be_bytes()));
    let passes = |datagram: &[u8]| passes_gate(black_box(datagram), black_box(host.public()));
    tell_of("320 bytes of junk, refused by the gate", &measure(runs, MANY, || black_box(passes(&junk))));
    tell_of("opened (HPKE)", &measure(runs, SOME, || black_box(open(black_box(&knock), &host).is_ok())));
    Ok(())
}

/// All that is decided of an opened knock; the signature is what takes time.
fn judgements(runs: usize) -> io::Result<()> {
    let host = HostKey::from_random(&[7; 32]);
    for (name, kind) in KINDS {
        let user = User::new(kind, 1)?;
        let opened = opened(&user.knock("door", host.public())?, &host)?;
        let forged = user.sign(b"something else")?;
        let forged = self::opened(&user.forged("door", host.public(), &forged)?, &host)?;
        let keys = read_keys(&user.line()?, &|_| None).keys;
        let source = std::net::Ipv4Addr::LOCALHOST.into();
        let judged = |opened: &Opened| {
            let rules = DoorRules { keys: &keys, address_must_match: false };
            judge(black_box(opened), host.public(), source, |_| Some(rules), now()).is_ok()
        };
        if !judged(&opened) || judged(&forged) {
            return Err(io::Error::other(format!("{name} is judged wrongly")));
        }
        tell_of(&format!("judged, {name}"), &measure(runs, SOME, || black_box(judged(&opened))));
        let name = format!("judged, {name}, with a wrong signature");
        tell_of(&name, &measure(runs, SOME, || black_box(judged(&forged))));
    }
    Ok(())
}

pub(super) fn opened(knock: &[u8], host: &HostKey) -> io::Result<Opened> {
    open(knock, host).map_err(|_| io::Error::other("a knock cannot be opened"))
}

/// As the daemon adds a line to its ledger.
fn appends(place: &Scratch, runs: usize) -> io::Result<()> {
    const ROOM: u64 = 256 * 1024;
    let file = OpenOptions::new().create_new(true).write(true).open(place.path().join("used"))?;
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, ROOM)?;
    file.sync_all()?;
    let mut length = 0;
    let mut add = |file: &File| {
        let written = file.write_all_at(&[b'.'; LINE], length).and_then(|()| file.sync_data());
        length += LINE as u64;
        written
    };
    let mut samples = Samples::default();
    for _ in 0..runs {
        machine::rest();
        let begin = Instant::now();
        add(&file)?;
        samples.add(begin.elapsed());
    }
    tell_of(&format!("a line of the ledger on {}, with fdatasync", place.kind()), &samples);
    Ok(())
}

fn elements(runs: usize) -> io::Result<()> {
    let mut bare = Bare::new(0)?;
    let mut samples = Samples::default();
    for _ in 0..runs {
        samples.add(bare.time_one(Duration::from_secs(1))?);
    }
    tell_of("one netlink element", &samples);
    Ok(())
}

/// The processor time of this thread so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How much of a processor's time something takes, on average of so many times, in so many runs.
fn measure<T>(runs: usize, times: u32, mut work: impl FnMut() -> T) -> Samples {
    let mut samples = Samples::default();
    for _ in 0..runs {
        let begin = processor_time();
        for _ in 0..times {
            black_box(work());
        }
        samples.add(processor_time().saturating_sub(begin) / times);
    }
    samples
}

fn tell_of(name: &str, samples: &Samples) {
    let rate = 1.0 / samples.median().as_secs_f64().max(1e-9);
    let rate = if samples.median() < Duration::from_nanos(1) { "-".into() } else { format!("{rate:.0}") };
    println!("| {name} | {} | {rate} |", samples.cells());
}
