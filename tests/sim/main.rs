//! The realm in a simulated world: virtual time, seeded chance, a model of the kernel and of programs that
//! behave and misbehave. After every turn the invariants are checked.
//!
//! - `cargo test --test sim`: 240 seeds, 500 turns each.
//! - `SIM_EVENTS=1000000 cargo test --release --test sim -- --ignored`: that many events, on new seeds.
//! - `SIM_SEED=17 cargo test --test sim`: one seed alone, as a failure has printed it; with the variable
//!   `SIM_TURNS` for its length if it was not 500 (5000 in the long test), and with `SIM_LOG` for more than
//!   the last 25 lines of what has happened.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]
#![allow(missing_docs, reason = "a test")]

mod kernel;
mod ledger;
mod program;
mod rng;
mod world;

use std::collections::BTreeSet;

use world::{RARE, Rare, World};

const WORLDS: u64 = 240;
const TURNS: u64 = 500;
const LONG_TURNS: u64 = 5000;

/// One world from its begin to its ragnarok; gives the number of its events, and which rare ones were among them.
fn live(seed: u64, turns: u64) -> (usize, BTreeSet<Rare>) {
    let mut world = World::new(seed);
    for _ in 0..turns {
        world.random_event();
    }
    // Half of the worlds find their peace before the end, the others are cut off in the middle.
    if seed.is_multiple_of(2) {
        world.calm_down();
    }
    world.ragnarok();
    (world.events, std::mem::take(&mut world.seen))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_happens_every_invariant_holds() {
    let turns = number("SIM_TURNS").unwrap_or(TURNS);
    if let Some(seed) = number("SIM_SEED") {
        live(seed, turns);
        return;
    }
    let (mut events, mut seen) = (0, BTreeSet::new());
    for seed in 0..WORLDS {
        let (number, rare) = live(seed, turns);
        events += number;
        seen.extend(rare);
    }
    println!("{events} events");
    assert!(events >= 100_000);
    assert_eq!(seen, BTreeSet::from(RARE), "what is rare has happened somewhere");
}

#[test]
#[ignore = "minutes long: SIM_EVENTS says how many events, a million if unset"]
fn whatever_happens_for_a_million_events_every_invariant_holds() {
    let wanted = usize::try_from(number("SIM_EVENTS").unwrap_or(1_000_000)).unwrap();
    let (mut events, mut seed) = (0, 1_000_000);
    while events < wanted {
        events += live(seed, LONG_TURNS).0;
        seed += 1;
    }
    println!("{events} events in {} worlds", seed - 1_000_000);
}
