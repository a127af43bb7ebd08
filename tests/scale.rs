//! What a turn costs does not depend on how many descriptors wait: instructions, as callgrind counts them.

mod support;

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use support::events::*;
use support::process::have;
use zerovent::EventBase;
use zerovent::event_base::{Ended, Event, Interest, Run};

const FEW: usize = 100;
const MANY: usize = 18_000;

/// How many turns are counted.
const TURNS: usize = 2000;

/// Tell the process that is counted what to do.
const DESCRIPTORS_NAME: &str = "SCALE_DESCRIPTORS";
const TURNS_NAME: &str = "SCALE_TURNS";

fn number_of(name: &str) -> usize {
    std::env::var(name).unwrap().parse().unwrap()
}

#[test]
#[ignore = "started by the test below, under callgrind"]
fn one_of_many_is_active_turn_after_turn() {
    let (idle, _peer) = pair();
    let copies: Vec<OwnedFd> =
        (0..number_of(DESCRIPTORS_NAME)).map(|_| idle.as_fd().try_clone_to_owned().unwrap()).collect();
    let mut base = EventBase::with_context(0).unwrap();
    for copy in &copies {
        let event = Event::fd(copy, Interest::READ).persist();
        let id = base.new_event(event, |_, _, _| panic!("nothing was sent")).unwrap();
        base.add(id, None).unwrap();
    }
    let (near, far) = pair();
    let active = base.new_event(reading(&near).persist(), |base, _, _| *base.context_mut() += 1).unwrap();
    base.add(active, None).unwrap();
    poke(&far);
    let turns = number_of(TURNS_NAME);
    for _ in 0..turns {
        assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
    }
    assert_eq!(*base.context(), turns);
}

/// Instructions of the whole process.
fn instructions(descriptors: usize, turns: usize) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "one_of_many_is_active_turn_after_turn", "--ignored", "--test-threads=1"]);
    command.env(DESCRIPTORS_NAME, descriptors.to_string()).env(TURNS_NAME, turns.to_string());
    let output = command.output().expect("valgrind starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}\n{}", String::from_utf8_lossy(&output.stdout));
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    collected.expect("callgrind counts").1.trim().parse().expect("a number")
}

/// Instructions of one turn: what so many turns more cost.
fn instructions_a_turn(descriptors: usize) -> u64 {
    (instructions(descriptors, 2 * TURNS) - instructions(descriptors, TURNS)) / TURNS as u64
}

#[test]
fn a_turn_costs_the_same_with_100_and_with_18_000_descriptors() {
    if !have("valgrind") {
        return;
    }
    let (few, many) = (instructions_a_turn(FEW), instructions_a_turn(MANY));
    println!("{few} instructions a turn with {FEW} descriptors, {many} with {MANY}");
    assert!(few > 100, "{few}: nothing was counted");
    assert!(many <= few + few / 20, "{few} instructions with {FEW} descriptors, {many} with {MANY}");
}
