//! What a connection costs while it idles and while it works: heap bytes and allocations, counted exactly.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use support::alloc::{self, Counting};
use support::net::{bufferevent, pattern, read_exact, run};
use zerovent::EventBase;
use zerovent::buffer::ChunkPool;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options, TokenBucket};
use zerovent::event_base::{Config, Interest};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The budget of one idle connection: slots, buffers, callbacks and the descriptor's entry.
const IDLE_BYTES_MAX: usize = 512;

fn echo(base: &mut EventBase, id: BuffereventId) {
    let (input, output) = base.bufferevent(id).unwrap().buffers();
    output.add_buffer(input).unwrap();
}

fn end(base: &mut EventBase, id: BuffereventId, _events: BevEvents) {
    base.free_bufferevent(id).unwrap();
    base.loop_break();
}

fn echo_server(base: &mut EventBase) -> (BuffereventId, TcpStream) {
    let (id, peer) = bufferevent(base, &Options::new());
    base.set_read_callback(id, echo).unwrap();
    base.set_event_callback(id, end).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    (id, peer)
}

/// Two descriptors a connection are in this process, of which 20,000 may be open.
const CONNECTIONS: usize = 5000;

#[test]
fn an_idle_connection_keeps_within_its_budget() {
    let each = idle_bytes(&Config::new().capacity(CONNECTIONS));
    println!("{each} bytes of heap an idle connection");
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes an idle connection");
    assert!(each > 100, "{each} bytes: something is not counted");

    let unannounced = idle_bytes(&Config::new());
    println!("{unannounced} bytes when the base was not told how many there will be");
    assert!(unannounced <= IDLE_BYTES_MAX, "{unannounced} bytes an idle connection");
}

/// Heap of a base with [`CONNECTIONS`] connections that have worked and now idle, divided by their number.
fn idle_bytes(config: &Config) -> usize {
    let mut peers = Vec::with_capacity(CONNECTIONS);
    let before = alloc::live_bytes();
    let mut base = EventBase::with_config(config, ()).unwrap();
    for _ in 0..CONNECTIONS {
        let (_, mut peer) = echo_server(&mut base);
        peer.write_all(&pattern(100, 1)).unwrap();
        peers.push(peer);
    }
    let client = std::thread::spawn(move || {
        for peer in &mut peers {
            assert_eq!(read_exact(peer, 100), pattern(100, 1));
        }
        peers.pop();
        peers
    });
    run(&mut base);
    let peers = client.join().unwrap();
    // What the thread's pool keeps for reuse is bounded by itself and belongs to no connection.
    ChunkPool::trim(0);
    let used = alloc::live_bytes() - before;
    usize::try_from(used).unwrap() / peers.len()
}

#[test]
fn ten_thousand_echoes_allocate_nothing() {
    for len in [64, 16 * 1024] {
        let made = allocations_of_echoes(len, |_, _| {});
        assert_eq!(made, 0, "allocations on the loop's thread in 10,000 round trips of {len} bytes");
    }
}

#[test]
fn ten_thousand_echoes_within_limits_allocate_nothing() {
    // Five echoes a millisecond: most have to wait for a tick.
    let limit = TokenBucket::new(320, 640, 320, 640, Duration::from_millis(1)).unwrap();
    let made = allocations_of_echoes(64, |base, id| {
        let group = base.new_rate_limit_group(&limit).unwrap();
        base.add_to_rate_limit_group(id, group).unwrap();
        base.set_rate_limit(id, Some(&limit)).unwrap();
        // The first echo waits for either timer, so that both are warm.
        base.decrement_read_limit(id, 50_000).unwrap();
        base.rate_limit_group(group).unwrap().decrement_write(100_000);
    });
    assert_eq!(made, 0, "allocations on the loop's thread in 10,000 round trips");
}

/// Allocations on the loop's thread in 10,000 round trips of `len` bytes, once it is warm.
fn allocations_of_echoes(len: usize, set_up: impl FnOnce(&mut EventBase, BuffereventId)) -> usize {
    let mut base = EventBase::new().unwrap();
    let (id, mut peer) = echo_server(&mut base);
    set_up(&mut base, id);
    let (warm, warmed) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let client = std::thread::spawn(move || {
        let message = pattern(len, 3);
        let mut echo_rounds = |rounds| {
            for _ in 0..rounds {
                peer.write_all(&message).unwrap();
                assert_eq!(read_exact(&mut peer, len), message);
            }
        };
        echo_rounds(100);
        warm.send(()).unwrap();
        gone.recv().unwrap();
        echo_rounds(10_000);
    });
    let remote = base.remote();
    std::thread::spawn(move || {
        warmed.recv().unwrap();
        remote.loop_break().unwrap();
    });
    run(&mut base);
    base.loop_exit(None).unwrap();
    base.dispatch().unwrap();
    go.send(()).unwrap();
    let before = alloc::allocations();
    base.dispatch().unwrap();
    let made = alloc::allocations() - before;
    client.join().unwrap();
    made
}
