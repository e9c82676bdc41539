//! The filter as a classic BPF program, which searches keys in its own code.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;

use socket2::{SockFilter, SockRef};

use super::Wanted;
use super::assembly::*;
use super::program::{Lookup, program};

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub(super) const MAX_INSTRUCTIONS: usize = 4096;
/// How many ranges of keys are compared one by one at the end of the search.
const LEAF: usize = 16;

/// The program that tells all keys apart, which may be longer than the kernel takes.
pub(super) fn exact(wanted: &Wanted) -> Vec<Instruction> {
    program(wanted, Lookup::Search { most: usize::MAX })
}

/// Attaches the program to a socket, in place of the one before; it is the coarser, the less room there is for it:
/// in a program, and in what a socket may have (`net.core.optmem_max`).
///
/// Where there is no room for the coarsest beside the one before, that one goes first, and for a moment everything
/// passes.
///
/// # Errors
/// Where the kernel takes not even the coarsest alone; then everything passes.
pub(super) fn attach(socket: BorrowedFd<'_>, wanted: &Wanted) -> io::Result<()> {
    attach_fitting(socket, wanted).or_else(|error| {
        SockRef::from(&socket).detach_filter().map_err(|_| error)?;
        attach_fitting(socket, wanted)
    })
}

fn attach_fitting(socket: BorrowedFd<'_>, wanted: &Wanted) -> io::Result<()> {
    let (mut most, mut code) = fitting(wanted);
    loop {
        let filters: Vec<_> = code.iter().map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k)).collect();
        match SockRef::from(&socket).attach_filter(&filters) {
            Err(_) if most > 1 => most /= 2,
            outcome => return outcome,
        }
        code = program(wanted, Lookup::Search { most });
    }
}

/// The finest program that is not too long, and how many ranges it tells apart.
pub(super) fn fitting(wanted: &Wanted) -> (usize, Vec<Instruction>) {
    let (mut most, mut code) = (wanted.steps.len(), exact(wanted));
    while code.len() > MAX_INSTRUCTIONS && most > 1 {
        most = most * MAX_INSTRUCTIONS / code.len();
        code = program(wanted, Lookup::Search { most });
    }
    (most, code)
}

type Range = (u32, u32);

/// Passes where the key in A is one of these, or between those that are taken together because there would be more than
/// `most` ranges.
pub(super) fn search(program: &mut Assembler, keys: Vec<u32>, most: usize, otherwise: Label) {
    divide(program, &ranges(keys, most), otherwise);
}

/// Keys as ranges; where there are more than `most`, those with the smallest gaps are taken together.
pub(super) fn ranges(mut keys: Vec<u32>, most: usize) -> Vec<Range> {
    keys.sort_unstable();
    keys.dedup();
    let mut ranges: Vec<Range> = Vec::new();
    for key in keys {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == key => *last = key,
            _ => ranges.push((key, key)),
        }
    }
    let surplus = ranges.len().saturating_sub(most.max(1));
    if surplus == 0 { ranges } else { merged(ranges, surplus) }
}

fn merged(ranges: Vec<Range>, surplus: usize) -> Vec<Range> {
    let mut gaps: Vec<_> = ranges.windows(2).map(|pair| pair[1].0 - pair[0].1).enumerate().collect();
    gaps.sort_by_key(|(_, gap)| *gap);
    let closed: BTreeSet<_> = gaps.iter().take(surplus).map(|(index, _)| index + 1).collect();
    let mut merged: Vec<Range> = Vec::new();
    for (index, range) in ranges.into_iter().enumerate() {
        match merged.last_mut() {
            Some((_, last)) if closed.contains(&index) => *last = range.1,
            _ => merged.push(range),
        }
    }
    merged
}

/// Binary search to a few of the sorted ranges, which are tried in turn.
fn divide(program: &mut Assembler, ranges: &[Range], otherwise: Label) {
    if ranges.len() <= LEAF {
        return try_each(program, ranges, otherwise);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let upper = program.label();
    program.jump_if(JUMP_GREATER_EQUAL, high[0].0, upper);
    divide(program, low, otherwise);
    program.place(upper);
    divide(program, high, otherwise);
}

fn try_each(program: &mut Assembler, ranges: &[Range], otherwise: Label) {
    let length = |range: &Range| if range.0 == range.1 { 1 } else { 2 };
    let mut left: u8 = ranges.iter().map(length).sum();
    for &(first, last) in ranges {
        if first == last {
            program.test(JUMP_EQUAL, first, left, 0);
            left -= 1;
        } else {
            program.test(JUMP_GREATER_EQUAL, first, 0, 1);
            program.test(JUMP_GREATER, last, 0, left - 1);
            left -= 2;
        }
    }
    program.jump(otherwise);
    program.ret(PASS);
}
