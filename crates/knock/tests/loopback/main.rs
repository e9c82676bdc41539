//! The built program against real sockets of this machine, over loopback alone.

#[cfg(test)]
mod client;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod one_time;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod sending;
#[cfg(test)]
mod usage;
