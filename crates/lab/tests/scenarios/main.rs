//! What users do with `knockd` and `knock`, from the knock to the connection: real packets between hosts made of network
//! namespaces, real firewalls, real clients.
//!
//! The programs under test are those of the same build: `cargo build -p knockd -p knock` first.

mod background;
mod clients;
mod commands;
mod endings;
mod firewalls;
mod floods;
mod frames;
mod idle;
mod interfaces;
mod keys;
mod keys_again;
mod keys_doors;
mod keys_floods;
mod keys_rules;
mod links;
mod many;
mod one_time;
mod packets;
mod privileges;
mod reload;
mod spa_ssh;
mod ssh;
mod strict;
mod support;
mod taken_over;
mod timeouts;
mod verify;
