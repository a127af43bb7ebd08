//! Descriptors that are waited for in both modes, against the kernel that is a table: what either set is told, how often, and who is
//! told of its reports.

use super::backend::Ready;
use super::tests::{Kernel, reactor_on, reading, slot, turn};
use super::*;

fn edges(fd: RawFd) -> Source {
    Source::Fd { fd, interest: Interest::READ | Interest::WRITE | Interest::EDGE }
}

/// A reactor with two slots that wait for descriptor 5, one for its states and one for its edges.
fn both(kernel: &Kernel) -> (Reactor, SlotId, SlotId) {
    let mut reactor = reactor_on(kernel);
    kernel.open(5, true);
    let [state, edge] = [reading(5), edges(5)].map(|source| slot(&mut reactor, source, true));
    reactor.add(state, None).unwrap();
    reactor.add(edge, None).unwrap();
    turn(&mut reactor).unwrap();
    (reactor, state, edge)
}

fn handed_out(reactor: &mut Reactor) -> Vec<SlotId> {
    std::iter::from_fn(|| reactor.next_active(0)).map(|active| active.slot).collect()
}

/// Has both sets report what they have, the first one also that the second one has something.
fn report(kernel: &Kernel, first: u64, second: Option<u64>) {
    let what = What::READ;
    let mut table = kernel.table();
    table.reports.push(Ready { token: first, what });
    if let Some(token) = second {
        let token_of_set = table.second_set;
        table.reports.push(Ready { token: token_of_set, what });
        table.second_reports.push(Ready { token, what });
    }
}

#[test]
fn each_mode_is_registered_for_itself_and_told_of_its_own_reports() {
    let kernel = Kernel::default();
    let (mut reactor, state, edge) = both(&kernel);
    let [first, second] = [false, true].map(|second| kernel.table().registration(second, 5).unwrap());
    assert_eq!(first.0, Interest::READ | Interest::WRITE | Interest::EDGE);
    assert_eq!(second.0, Interest::READ);
    assert_eq!(kernel.calls(), 2);
    report(&kernel, first.1, None);
    turn(&mut reactor).unwrap();
    assert_eq!(handed_out(&mut reactor), [edge]);
    let nothing = kernel.table().second_set ^ 1;
    report(&kernel, nothing, Some(second.1));
    turn(&mut reactor).unwrap();
    assert_eq!(handed_out(&mut reactor), [state]);
    assert_eq!(reactor.counters().stale_events, 1, "what neither set was told");
    report(&kernel, first.1, Some(second.1));
    turn(&mut reactor).unwrap();
    assert_eq!(handed_out(&mut reactor), [edge, state]);
}

#[test]
fn who_is_left_goes_on_and_the_other_mode_is_told_once() {
    let kernel = Kernel::default();
    let (mut reactor, state, edge) = both(&kernel);
    let edges = kernel.table().registration(false, 5).unwrap();
    let calls = kernel.calls();
    reactor.del(state).unwrap();
    turn(&mut reactor).unwrap();
    assert_eq!(kernel.table().registration(true, 5), None);
    assert_eq!((kernel.calls() - calls, kernel.table().registration(false, 5)), (1, Some(edges)));
    report(&kernel, edges.1, None);
    turn(&mut reactor).unwrap();
    assert_eq!(handed_out(&mut reactor), [edge]);
    reactor.add(state, None).unwrap();
    turn(&mut reactor).unwrap();
    assert_eq!((kernel.calls() - calls, kernel.table().registration(false, 5)), (2, Some(edges)));
    reactor.del(edge).unwrap();
    turn(&mut reactor).unwrap();
    let states = kernel.table().registration(false, 5).unwrap();
    assert_eq!(states.0, Interest::READ, "alone, it has the first set");
    assert_eq!(kernel.table().registration(true, 5), None);
    assert_eq!(reactor.fds.first_waiting(states.1), Some(state.index()), "and the usual way");
}

#[test]
fn while_there_is_no_descriptor_for_a_second_set_edges_are_told_and_states_are_tried_again() {
    let kernel = Kernel::default();
    kernel.table().short_of_descriptors = true;
    let (mut reactor, state, edge) = both(&kernel);
    let first = kernel.table().registration(false, 5).unwrap();
    assert_eq!(kernel.table().registration(true, 5), None);
    report(&kernel, first.1, None);
    let wait = reactor.prepare(false, None);
    reactor.complete(wait, |_, _| {});
    let second = kernel.table().registration(true, 5).unwrap();
    report(&kernel, first.1, Some(second.1));
    turn(&mut reactor).unwrap();
    assert_eq!(handed_out(&mut reactor), [edge, state]);
    let calls = kernel.calls();
    turn(&mut reactor).unwrap();
    assert_eq!(kernel.calls(), calls);
}

#[test]
fn no_second_set_is_made_for_who_has_left() {
    let kernel = Kernel::default();
    kernel.table().short_of_descriptors = true;
    let (mut reactor, state, edge) = both(&kernel);
    reactor.del(state).unwrap();
    kernel.table().second_set = 0;
    turn(&mut reactor).unwrap();
    assert_eq!(kernel.table().second_set, 0, "nobody has asked for one");
    let first = kernel.table().registration(false, 5).unwrap();
    report(&kernel, first.1, None);
    turn(&mut reactor).unwrap();
    assert_eq!(handed_out(&mut reactor), [edge]);
}

#[test]
fn a_descriptor_that_was_closed_is_told_anew_in_both_modes() {
    let kernel = Kernel::default();
    let (mut reactor, state, edge) = both(&kernel);
    let [first, second] = [false, true].map(|second| kernel.table().registration(second, 5).unwrap());
    reactor.forget_fd(edge).unwrap();
    reactor.forget_fd(state).unwrap();
    reactor.add(edge, None).unwrap();
    reactor.add(state, None).unwrap();
    turn(&mut reactor).unwrap();
    report(&kernel, first.1, Some(second.1));
    turn(&mut reactor).unwrap();
    assert_eq!(handed_out(&mut reactor), [], "what was told before the close is over");
    let [first, second] = [false, true].map(|second| kernel.table().registration(second, 5).unwrap());
    report(&kernel, first.1, Some(second.1));
    turn(&mut reactor).unwrap();
    assert_eq!(handed_out(&mut reactor), [edge, state]);
}
