//! The built program against a real socket, at whose other end the test speaks.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod places;
#[cfg(test)]
mod usage;
