//! Doors that the kernel opens, from the knock to the connection: what a door can say, whatever firewall the machine
//! has besides, and what an administrator does to the running daemon.
//!
//! The programs under test are those of the same build: `cargo build -p knockd -p knock -p knockctl` first.

mod administrator;
mod containers;
mod doors;
mod firewalls;
mod life;
mod managers;
mod people;
mod reload;
mod router;
mod support;
mod times;
mod udp;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Most of a scenario is waiting.
const THREADS: usize = 6;

/// A trial for each of these functions.
macro_rules! trials {
    ($($module:ident: $($scenario:ident),+;)+) => {
        vec![$($(
            Trial::test(concat!(stringify!($module), "::", stringify!($scenario)), || {
                $module::$scenario().map_err(Failed::from)
            })
        ),+),+]
    };
}

fn main() -> ExitCode {
    if let Err(error) = lab::become_root() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let trials = trials! {
        administrator:
            opens_and_closes_by_hand,
            closes_all,
            tells_how_it_is,
            watches,
            what_is_not_confirmed_goes_back,
            what_is_not_confirmed_is_in_force_for_a_while,
            what_is_confirmed_stays,
            a_file_that_cannot_be_used_is_told_to_whoever_asked,
            where_sudo_has_hidden_from_where_they_come;
        containers:
            a_published_port,
            a_published_port_that_the_user_has_closed,
            a_published_port_by_iptables_legacy;
        doors:
            a_port_of_tcp,
            on_whatever_interface_there_is,
            lists_and_ranges,
            ranges_of_udp,
            nothing_but_the_door_s_own_ports_is_open,
            a_door_that_closes_another_does_so_for_the_knocker,
            a_door_may_open_one_port_and_close_another,
            two_doors_for_one_port,
            a_network_around_the_knocker,
            who_may_not_knock_is_told_why,
            without_guard_and_firewall_nothing_is_closed,
            a_door_with_commands_as_well,
            a_door_with_commands_at_the_daemon_s_end,
            what_the_machine_says_to_itself,
            sequences_that_are_good_for_one_knock;
        firewalls:
            nftables_with_policy_drop,
            nftables_with_a_last_rule_that_drops,
            nftables_with_a_chain_that_rejects,
            nftables_with_several_tables,
            nftables_alone_guards,
            nftables_loaded_again,
            nftables_flushed_and_loaded_later,
            our_table_deleted,
            nftables_changed_by_hand,
            nftables_that_comes_later,
            another_mark,
            iptables_on_nftables,
            iptables_on_nftables_flushed,
            iptables_legacy,
            iptables_legacy_flushed,
            the_end_of_the_daemon_opens_nothing;
        managers:
            ufw_denies_all,
            ufw_reloaded,
            firewalld_drops_all,
            firewalld_reloaded;
        people:
            netcat,
            telnet,
            the_shell_alone,
            debians_knock;
        reload:
            more_ports,
            a_door_less,
            another_time,
            a_file_that_cannot_be_used,
            another_mark,
            another_guard,
            another_port_while_somebody_knocks;
        router:
            a_door_to_a_machine_behind,
            what_is_passed_on_is_not_guarded;
        times:
            fractions_of_seconds,
            units_of_time,
            a_door_without_end,
            a_daemon_that_is_killed,
            what_is_established_is_cut,
            what_is_established_is_cut_where_another_firewall_guards,
            the_mark_is_enough_for_another_firewall,
            what_is_cut_goes_on_when_the_door_opens_again;
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}
