//! What goes wrong around the daemon: it is killed, the disk is full, somebody tampers with its table or its journal, the
//! clock jumps, commands hang. Whatever happens, nothing stays open past its time, nothing that should be open is lost,
//! the log says what happened, and strangers stay outside.
//!
//! The program under test is that of the same build: `cargo build -p knockd` first.

mod clocks;
mod damaged;
mod disk;
mod ended;
mod endless;
mod full_disk;
mod journal;
mod killed;
mod many;
mod meddling;
mod neighbours;
mod read_only;
mod removed;
mod rollback;
mod stop_commands;
mod support;
