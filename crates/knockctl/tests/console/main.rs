//! What is looked at on a terminal: the built program in a pseudo terminal, on hosts with a real daemon.

#[cfg(test)]
mod keys;
#[cfg(test)]
mod new_door;
#[cfg(test)]
mod screen;
#[cfg(test)]
mod top;
