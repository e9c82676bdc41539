//! Whether the wall clock is kept right by somebody.

#![allow(unsafe_code, reason = "adjtimex has no safe wrapper")]

use std::io;
use std::mem;

/// Whether the kernel believes the wall clock to be synchronised, as NTP daemons tell it (`adjtimex(2)`,
/// `STA_UNSYNC`). Nothing is changed.
///
/// # Errors
/// `EPERM` or `ENOSYS` where a sandbox forbids the call.
pub fn is_synchronised() -> io::Result<bool> {
    // SAFETY: all zeros is a valid `timex`: integers and padding. No mode is set, so that it is only filled in.
    let mut time: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: the struct outlives the call.
    match unsafe { libc::adjtimex(&raw mut time) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(time.status & libc::STA_UNSYNC == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_the_same_twice() {
        let Ok(first) = is_synchronised() else { return };
        assert_eq!(is_synchronised().unwrap(), first);
    }
}
