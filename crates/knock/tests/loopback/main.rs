//! The built program against real sockets of this machine, over loopback alone.

#[cfg(test)]
mod client;
#[cfg(test)]
mod one_time;
#[cfg(test)]
mod sending;
#[cfg(test)]
mod usage;
