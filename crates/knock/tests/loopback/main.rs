//! The built program against real sockets of this machine, over loopback alone.

#[cfg(unix)]
#[cfg(test)]
mod add;
#[cfg(test)]
mod client;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod one_time;
#[cfg(unix)]
#[cfg(test)]
mod person;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod rolling;
#[cfg(test)]
mod sending;
#[cfg(unix)]
#[cfg(test)]
mod signed;
#[cfg(unix)]
#[cfg(test)]
mod token;
#[cfg(test)]
mod usage;
