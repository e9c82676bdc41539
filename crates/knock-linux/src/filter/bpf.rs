//! Extended BPF programs and tables in the kernel (`bpf(2)`).

#![allow(unsafe_code, reason = "bpf and SO_ATTACH_BPF have no safe wrapper")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use crate::probe;
use crate::socket::check;

// Commands and types of `linux/bpf.h`.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SOCKET_FILTER: u32 = 1;
/// Says of a constant of 64 bits that it is an address in a map's value.
const PSEUDO_MAP_VALUE: u8 = 2;

/// One operation (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Operation {
    code: u8,
    registers: u8,
    offset: i16,
    constant: i32,
}

impl Operation {
    /// An operation on registers, 0 to 10.
    pub(super) const fn new(code: u8, to: u8, from: u8, offset: i16, constant: i32) -> Self {
        // Two bit fields, which C lays out by the machine's byte order.
        let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        Self { code, registers, offset, constant }
    }

    pub(super) fn set_offset(&mut self, offset: i16) {
        self.offset = offset;
    }
}

/// Memory that programs read and we write.
#[derive(Debug)]
pub(super) struct Table {
    map: OwnedFd,
    size: usize,
}

impl Table {
    /// So many bytes, all zero.
    ///
    /// # Errors
    /// `EPERM` where the kernel does not let us, and `Unsupported` where a filter of system calls would end the process
    /// for the question.
    pub(super) fn new(size: u32) -> io::Result<Self> {
        #[repr(C)]
        struct Create {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
        }
        if !may_be_asked() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let create = Create { map_type: MAP_TYPE_ARRAY, key_size: 4, value_size: size, max_entries: 1 };
        // SAFETY: the command reads nothing but the structure.
        let map = unsafe { descriptor(MAP_CREATE, &create) }?;
        Ok(Self { map, size: size as usize })
    }

    /// Writes all of it, a byte at a time: who reads meanwhile finds old or new bytes, and nothing in between.
    ///
    /// # Errors
    /// `InvalidInput` where these are not as many bytes as there are; `ENOMEM`.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        #[repr(C)]
        struct Update {
            map: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        if bytes.len() != self.size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let key: u32 = 0;
        let (key, value) = ((&raw const key) as u64, bytes.as_ptr() as u64);
        let update = Update { map: number(&self.map), padding: 0, key, value, flags: 0 };
        // SAFETY: the command reads the structure, a key of four bytes, and a value of as many bytes as the map was
        // made for, which has just been seen to; all outlive the call.
        unsafe { bpf(MAP_UPDATE_ELEM, &update) }?;
        Ok(())
    }

    /// What loads the address of the byte `at` into a register.
    pub(super) fn address(&self, code: u8, to: u8, at: u32) -> [Operation; 2] {
        [
            Operation::new(code, to, PSEUDO_MAP_VALUE, 0, self.map.as_raw_fd()),
            Operation::new(0, 0, 0, 0, at.cast_signed()),
        ]
    }
}

/// A program that the kernel has found to end and to touch nothing but what it may.
#[derive(Debug)]
pub(super) struct Program(OwnedFd);

impl Program {
    /// Loads a socket filter.
    ///
    /// # Errors
    /// `EPERM` where the kernel does not let us, `EINVAL` or `EACCES` where it does not like the program.
    pub(super) fn load(operations: &[Operation]) -> io::Result<Self> {
        #[repr(C)]
        struct Load {
            program_type: u32,
            count: u32,
            operations: u64,
            license: u64,
        }
        let load = Load {
            program_type: PROG_TYPE_SOCKET_FILTER,
            count: operations.len() as u32,
            operations: operations.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
        };
        // SAFETY: the command reads the structure, as many operations as there are, and a string that ends with a zero;
        // all outlive the call. What the program may do the kernel sees to.
        unsafe { descriptor(PROG_LOAD, &load) }.map(Self)
    }

    /// Lets a socket receive what this program says, in place of the filter before. The program stays with it.
    ///
    /// # Errors
    /// `ENOMEM` where the socket may not have so much (`net.core.optmem_max`); the old filter stays.
    pub(super) fn attach(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let program: libc::c_int = self.0.as_raw_fd();
        let length = mem::size_of_val(&program) as libc::socklen_t;
        // SAFETY: the value is an `int` that outlives the call, and the length is its own.
        check(unsafe {
            let value = (&raw const program).cast();
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_BPF, value, length)
        })
    }

    /// Runs the program on an Ethernet frame that came in on the loopback interface, as often as is said; what it
    /// returns, and how long it takes on average.
    #[cfg(test)]
    pub(super) fn run(&self, frame: &[u8], times: u32) -> io::Result<(u32, std::time::Duration)> {
        #[repr(C)]
        struct Run {
            program: u32,
            result: u32,
            size: u32,
            size_out: u32,
            frame: u64,
            frame_out: u64,
            times: u32,
            nanoseconds: u32,
        }
        const PROG_TEST_RUN: libc::c_int = 10;
        let (program, size, frame) = (number(&self.0), frame.len() as u32, frame.as_ptr() as u64);
        let mut run =
            Run { program, result: 0, size, size_out: 0, frame, frame_out: 0, times, nanoseconds: 0 };
        // SAFETY: the command reads the structure and as many bytes of the frame as it says, which both outlive the
        // call, and writes to nothing but the structure.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, &raw mut run, mem::size_of::<Run>()) };
        check(done as libc::c_int)?;
        Ok((run.result, std::time::Duration::from_nanos(run.nanoseconds.into())))
    }
}

/// Whether the question ends nobody.
fn may_be_asked() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        probe::is_survived(|| {
            // SAFETY: the command reads nothing, since the length is 0.
            unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, std::ptr::null::<u8>(), 0) };
        })
    })
}

fn number(descriptor: &OwnedFd) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

/// A command that answers with a descriptor.
///
/// # Safety
/// As for [`bpf`].
unsafe fn descriptor<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: by the caller's promise.
    let descriptor = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel has just made this descriptor, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// # Safety
/// `T` must be laid out as the beginning of the command's part of `union bpf_attr`, without padding that is not
/// written, and the addresses in it must be good for what the command does with them.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: by the caller's promise; the length is the structure's own, and the kernel takes the rest for zeros.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), mem::size_of::<T>()) };
    libc::c_int::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(io::Error::last_os_error)
}
