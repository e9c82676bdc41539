//! How the C library's allocator treats memory that is free again.

#![allow(unsafe_code, reason = "mallopt has no safe wrapper")]

/// How many bytes are much.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Has large pieces of memory given back to the system whenever they are free.
///
/// The GNU C library does so until one is freed, and then keeps pieces of that size for later (`mallopt(3)`,
/// `M_MMAP_THRESHOLD`): what a flood has taken would stay. Others, such as musl, always give back.
pub fn give_back_large_pieces() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number, which is in the range that the manual page gives, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
