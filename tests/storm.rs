//! Thousands of connections that echo random pieces over one loop, some of them cut off in the middle: what survives
//! is byte-identical, and nothing is left open.

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use support::net::{any_port, open_descriptors, pattern};
use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::{Ended, Interest};
use zerovent::listener::{ListenOptions, ListenerId};

const CONNECTIONS: usize = 5000;
/// How many are open at a time: two descriptors each, under the usual limit of 1024.
const AT_ONCE: usize = 400;
const STREAM_MAX: usize = 40_000;

/// One end of a connection that knows what it has sent and what has come back.
struct Client {
    stream: Vec<u8>,
    sent: usize,
    echoed: usize,
    /// Where it is to be cut off, if it is.
    cut_at: Option<usize>,
}

struct Storm {
    state: u64,
    clients: HashMap<BuffereventId, Client>,
    address: SocketAddr,
    listener: Option<ListenerId>,
    begun: usize,
    whole: usize,
    cut: usize,
    served: usize,
}

type Base = EventBase<Storm>;

/// A number below `bound`, the same in every run.
fn random(base: &mut Base, bound: usize) -> usize {
    let state = &mut base.context_mut().state;
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % bound
}

fn random_options(base: &mut Base) -> Options {
    Options::new().deferred(random(base, 2) == 0)
}

/// Small shares and low marks, on some: the rarely walked ways of the engine.
fn make_difficult(base: &mut Base, id: BuffereventId) {
    let (read, write, high) = (200 + random(base, 3000), 200 + random(base, 3000), 200 + random(base, 5000));
    let which = random(base, 8);
    let bufferevent = base.bufferevent(id).unwrap();
    if which & 1 != 0 {
        bufferevent.set_max_single_read(read);
    }
    if which & 2 != 0 {
        bufferevent.set_max_single_write(write);
    }
    if which & 4 != 0 {
        bufferevent.set_watermark(Interest::READ, 0, high);
    }
    bufferevent.set_timeouts(Some(Duration::from_secs(120)), Some(Duration::from_secs(120)));
}

fn serve(base: &mut Base, _: ListenerId, fd: OwnedFd, _: zerovent::util::Address) {
    let options = random_options(base);
    let id = base.new_socket(Some(fd), &options).unwrap();
    make_difficult(base, id);
    base.set_read_callback(id, |base, id| {
        let some = random(base, 4) == 0;
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        let count = if some { input.len().div_ceil(2) } else { input.len() };
        input.remove_buffer(output, count).unwrap();
    })
    .unwrap();
    // What was left behind goes as soon as what was in front of it has left.
    base.set_write_callback(id, |base, id| {
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        output.add_buffer(input).unwrap();
    })
    .unwrap();
    base.set_event_callback(id, |base, id, events| {
        base.context_mut().served += 1;
        if events.contains(BevEvents::ERROR) {
            return base.free_bufferevent(id).unwrap();
        }
        assert_eq!(events, BevEvents::EOF | BevEvents::READING);
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        output.add_buffer(input).unwrap();
        base.free_after_flush(id, Duration::from_secs(20)).unwrap();
    })
    .unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
}

fn begin_client(base: &mut Base) {
    if base.context().begun == CONNECTIONS {
        return;
    }
    base.context_mut().begun += 1;
    let options = random_options(base);
    let id = base.new_socket(None, &options).unwrap();
    make_difficult(base, id);
    let len = 1 + random(base, STREAM_MAX);
    let cut_at = (random(base, 4) == 0).then(|| random(base, len));
    let stream = pattern(len, base.context().begun as u64);
    base.context_mut().clients.insert(id, Client { stream, sent: 0, echoed: 0, cut_at });
    base.set_read_callback(id, check_echo).unwrap();
    base.set_event_callback(id, |_, _, events| assert_eq!(events, BevEvents::CONNECTED)).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    if random(base, 2) == 0 {
        send_piece(base, id);
        let address = base.context().address;
        base.connect(id, address).unwrap();
    } else {
        let address = base.context().address;
        base.connect(id, address).unwrap();
        send_piece(base, id);
    }
}

fn send_piece(base: &mut Base, id: BuffereventId) {
    let most = 1 + random(base, 9000);
    let client = base.context_mut().clients.get_mut(&id).unwrap();
    let piece = client.stream[client.sent..].iter().copied().take(most).collect::<Vec<_>>();
    client.sent += piece.len();
    base.bufferevent(id).unwrap().write(&piece).unwrap();
}

fn check_echo(base: &mut Base, id: BuffereventId) {
    let cut_at = base.context().clients[&id].cut_at;
    if cut_at.is_some_and(|at| base.context().clients[&id].echoed >= at) {
        // The input has not been taken, so this is a reset more often than not.
        base.context_mut().clients.remove(&id);
        base.context_mut().cut += 1;
        base.free_bufferevent(id).unwrap();
        return begin_client(base);
    }
    let bufferevent = base.bufferevent(id).unwrap();
    let mut bytes = vec![0; bufferevent.input().len()];
    bufferevent.read(&mut bytes).unwrap();
    let client = base.context_mut().clients.get_mut(&id).unwrap();
    let expected = &client.stream[client.echoed..client.sent];
    assert!(expected.starts_with(&bytes), "the echo differs from what was sent");
    client.echoed += bytes.len();
    let (echoed, sent, len) = (client.echoed, client.sent, client.stream.len());
    if echoed == len {
        base.context_mut().clients.remove(&id);
        base.context_mut().whole += 1;
        base.free_after_flush(id, Duration::from_secs(20)).unwrap();
        begin_client(base);
    } else if sent < len && (echoed == sent || random(base, 2) == 0) {
        send_piece(base, id);
    }
}

#[test]
fn thousands_of_echoes_survive_each_other_and_leave_nothing_open() {
    let open = open_descriptors();
    let storm = Storm {
        state: 7,
        clients: HashMap::new(),
        address: any_port(),
        listener: None,
        begun: 0,
        whole: 0,
        cut: 0,
        served: 0,
    };
    let mut base = EventBase::with_context(storm).unwrap();
    let slots = base.stats().slots;
    let listener = base.listen(any_port(), &ListenOptions::new(), serve).unwrap();
    base.context_mut().address = base.listener(listener).unwrap().address().as_inet().unwrap();
    base.context_mut().listener = Some(listener);
    for _ in 0..AT_ONCE {
        begin_client(&mut base);
    }
    let begun = Instant::now();
    run_until_all_are_served(&mut base, begun);
    let storm = base.context();
    assert_eq!(storm.whole + storm.cut, CONNECTIONS);
    assert!(storm.cut > CONNECTIONS / 10, "only {} were cut off", storm.cut);
    assert_eq!(base.stats().slots, slots, "slots are left behind");
    drop(base);
    assert_eq!(open_descriptors(), open, "descriptors are left open");
}

fn run_until_all_are_served(base: &mut Base, begun: Instant) {
    loop {
        base.loop_exit(Some(Duration::from_millis(100))).unwrap();
        let ended = base.dispatch().unwrap();
        let storm = base.context();
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "stuck: {} begun, {} whole, {} cut, {} served, {} open, {:?}",
            storm.begun,
            storm.whole,
            storm.cut,
            storm.served,
            storm.clients.len(),
            storm.clients.values().next().map(|client| (client.sent, client.echoed, client.stream.len())),
        );
        if storm.served == CONNECTIONS
            && let Some(listener) = base.context_mut().listener.take()
        {
            base.free_listener(listener).unwrap();
        }
        // What ends this run keeps it from being empty.
        if ended == Ended::Empty || (base.context().listener.is_none() && base.stats().slots == 0) {
            return;
        }
    }
}
