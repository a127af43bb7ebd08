//! Relays: two sockets joined by pipes or through memory, with back-pressure, half-close, limits and errors.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::net::{self, PATIENCE};
use zerovent::buffer::{CopyStats, PipePool};
use zerovent::bufferevent::{
    BevEvents, BuffereventId, Options, RELAY_MARK, RelayEnd, RelayId, RelayOptions, Splicing, TokenBucket,
};
use zerovent::event_base::{Ended, Interest, Run};
use zerovent::{Error, Evbuffer, EventBase};

type Base = EventBase<Option<RelayEnd>>;

/// A base with two joined sockets, and the peers of both.
struct Joined {
    base: Base,
    relay: RelayId,
    a: BuffereventId,
    b: BuffereventId,
    client: TcpStream,
    server: TcpStream,
}

fn note_end(base: &mut Base, end: RelayEnd) {
    *base.context_mut() = Some(end);
    base.loop_break();
}

fn joined(options: &RelayOptions) -> Joined {
    let mut base = EventBase::with_context(None).unwrap();
    let (a, client) = net::bufferevent(&mut base, &Options::new());
    let (b, server) = net::bufferevent(&mut base, &Options::new());
    let relay = base.relay(a, b, options, note_end).unwrap();
    Joined { base, relay, a, b, client, server }
}

impl Joined {
    fn end(mut self) -> (Base, RelayEnd) {
        net::run(&mut self.base);
        let end = self.base.context_mut().take().unwrap();
        assert_eq!((end.a, end.b), (self.a, self.b));
        (self.base, end)
    }
}

/// Sends `bytes` and then the end of the stream.
fn send(mut to: TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    thread::spawn(move || {
        to.write_all(&bytes).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
    })
}

fn receive(mut from: TcpStream) -> JoinHandle<Vec<u8>> {
    from.set_read_timeout(Some(PATIENCE)).unwrap();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Lets `len` random bytes pass each way at once, and says what moving them took.
fn pass_both_ways(options: &RelayOptions, len: usize) -> CopyStats {
    let before = CopyStats::now();
    let joined = joined(options);
    let (there, back) = (net::pattern(len, 1), net::pattern(len, 2));
    let (client, server) = (joined.client.try_clone().unwrap(), joined.server.try_clone().unwrap());
    let senders = [send(client, there.clone()), send(server, back.clone())];
    let receivers =
        [receive(joined.server.try_clone().unwrap()), receive(joined.client.try_clone().unwrap())];
    let (_base, end) = joined.end();
    assert!(end.failed.is_none(), "{end:?}");
    assert_eq!((end.a_to_b, end.b_to_a), (len as u64, len as u64));
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let [at_server, at_client] = receivers.map(|receiver| receiver.join().unwrap());
    assert!(at_server == there && at_client == back, "bytes differ");
    CopyStats::now() - before
}

const LARGE: usize = 64 << 20;

#[test]
fn what_is_spliced_is_never_copied_nor_seen() {
    let moved = pass_both_ways(&RelayOptions::new().splicing(Splicing::Always), LARGE);
    assert_eq!((moved.copied, moved.received, moved.read), (0, 0, 0));
    assert_eq!((moved.spliced_in, moved.spliced_out), (2 * LARGE as u64, 2 * LARGE as u64));
}

#[test]
fn in_bulk_nearly_everything_is_spliced() {
    let moved = pass_both_ways(&RelayOptions::new(), LARGE);
    assert_eq!(moved.spliced_in + moved.received, 2 * LARGE as u64);
    assert!(moved.spliced_in > LARGE as u64, "{moved:?}");
}

#[test]
fn without_pipes_bytes_pass_through_memory() {
    PipePool::set_limit(0);
    let moved = pass_both_ways(&RelayOptions::new(), LARGE);
    assert_eq!((moved.spliced_in, moved.received), (0, 2 * LARGE as u64));
    PipePool::set_limit(64);
    let moved = pass_both_ways(&RelayOptions::new().splicing(Splicing::Never), 1 << 20);
    assert_eq!((moved.spliced_in, moved.received), (0, 2 << 20));
}

#[test]
fn unix_sockets_are_relayed_too() {
    let mut base = EventBase::with_context(None).unwrap();
    let mut sides = [(); 2].map(|()| {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (base.new_socket(Some(near.into()), &Options::new()).unwrap(), far)
    });
    let options = RelayOptions::new().splicing(Splicing::Always);
    base.relay(sides[0].0, sides[1].0, &options, note_end).unwrap();
    let sent = net::pattern(3 << 20, 3);
    let mut writer = sides[0].1.try_clone().unwrap();
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut reader = sides[1].1.try_clone().unwrap();
    let receiver = thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    sides[1].1.shutdown(Shutdown::Write).unwrap();
    net::run(&mut base);
    sender.join().unwrap();
    assert!(receiver.join().unwrap() == expected);
    assert_eq!(sides[0].1.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_had_been_read_before_goes_first() {
    let mut base = EventBase::with_context(None).unwrap();
    let (a, mut client) = net::bufferevent(&mut base, &Options::new());
    let (b, server) = net::bufferevent(&mut base, &Options::new());
    base.set_read_callback(a, |base, _| base.loop_break()).unwrap();
    base.bufferevent(a).unwrap().enable(Interest::READ);
    client.write_all(b"first, ").unwrap();
    net::run(&mut base);
    base.bufferevent(b).unwrap().write(b"of its own, ").unwrap();
    base.relay(a, b, &RelayOptions::new(), note_end).unwrap();
    client.write_all(b"then").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    net::run(&mut base);
    assert_eq!(receive(server).join().unwrap(), b"of its own, first, then");
    assert_eq!(base.context().as_ref().unwrap().a_to_b, 11);
}

#[test]
fn the_end_of_one_stream_is_passed_on_and_the_other_goes_on() {
    let joined = joined(&RelayOptions::new());
    let (mut client, mut server) = (joined.client.try_clone().unwrap(), joined.server.try_clone().unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let peers = thread::spawn(move || {
        let mut text = String::new();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        // Only now does the server answer, over the half that is still open.
        server.write_all(b"answer").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
    });
    let (_, end) = joined.end();
    peers.join().unwrap();
    assert!(end.failed.is_none() && (end.a_to_b, end.b_to_a) == (8, 6), "{end:?}");
}

/// What a peer that does not read leaves in the base, when another sends as much as it can.
fn held_for_a_slow_reader(options: &RelayOptions) -> (usize, usize) {
    let mut joined = joined(options);
    joined.client.set_nonblocking(true).unwrap();
    let block = net::pattern(1 << 20, 4);
    let mut sent = 0;
    let mut most = 0;
    let mut quiet = 0;
    while quiet < 3 {
        match joined.client.write(&block[sent % block.len()..]) {
            Ok(count) => (sent, quiet) = (sent + count, 0),
            Err(_) => quiet += 1,
        }
        net::run_for(&mut joined.base, Duration::from_millis(5));
        let held = joined.base.bufferevent(joined.b).unwrap().output().len();
        most = most.max(held);
    }
    // Nothing is lost: the reader wakes up, and gets it all.
    joined.client.shutdown(Shutdown::Write).unwrap();
    joined.server.shutdown(Shutdown::Write).unwrap();
    let receiver = receive(joined.server.try_clone().unwrap());
    let (_, end) = joined.end();
    let received = receiver.join().unwrap();
    assert_eq!((received.len(), end.a_to_b), (sent, sent as u64));
    assert!(received.iter().enumerate().all(|(place, &byte)| byte == block[place % block.len()]));
    (most, sent)
}

#[test]
fn for_a_slow_reader_no_more_is_held_than_a_pipe_holds() {
    let (most, sent) = held_for_a_slow_reader(&RelayOptions::new().splicing(Splicing::Always));
    assert!(most > 0 && most <= RELAY_MARK, "{most} of {sent}");
    let (most, _) = held_for_a_slow_reader(&RelayOptions::new().splicing(Splicing::Never).mark(100_000));
    assert!(most > 0 && most <= 100_000, "{most}");
}

#[test]
fn a_reset_ends_it_and_tells_whose() {
    let mut joined = joined(&RelayOptions::new());
    joined.client.write_all(b"never read").unwrap();
    net::run_for(&mut joined.base, Duration::from_millis(20));
    // Closing the server's end while something is unread resets the connection.
    joined.server = net::tcp_pair().0;
    let b = joined.b;
    let (_, end) = joined.end();
    let Some((id, Error::Io(error))) = &end.failed else { panic!("{end:?}") };
    assert_eq!((*id, error.kind()), (b, std::io::ErrorKind::ConnectionReset));
    assert_eq!(end.a_to_b, 10);
}

#[test]
fn freeing_a_side_ends_it() {
    let mut joined = joined(&RelayOptions::new());
    joined.base.free_bufferevent(joined.a).unwrap();
    let (a, b) = (joined.a, joined.b);
    let (mut base, end) = joined.end();
    assert!(matches!(end.failed, Some((id, Error::Stale)) if id == a), "{end:?}");
    base.bufferevent(b).unwrap().write(b"still there").unwrap();
}

#[test]
fn what_closes_after_a_flush_sends_what_it_was_given() {
    let mut joined = joined(&RelayOptions::new());
    joined.client.write_all(b"last words").unwrap();
    net::run_for(&mut joined.base, Duration::from_millis(20));
    joined.base.free_after_flush(joined.b, PATIENCE).unwrap();
    let receiver = receive(joined.server.try_clone().unwrap());
    let b = joined.b;
    let (_base, end) = joined.end();
    assert!(matches!(end.failed, Some((id, Error::Stale)) if id == b), "{end:?}");
    assert_eq!(receiver.join().unwrap(), b"last words");
}

#[test]
fn it_can_be_stopped_and_the_rest_looked_at() {
    let mut joined = joined(&RelayOptions::new().splicing(Splicing::Always));
    joined.client.set_nonblocking(true).unwrap();
    let block = net::pattern(1 << 20, 5);
    let mut sent = 0;
    // Until the server's side is full, and so something waits in the base.
    while joined.base.bufferevent(joined.b).unwrap().output().is_empty() {
        sent += joined.client.write(&block[sent % block.len()..]).unwrap_or(0);
        net::run_for(&mut joined.base, Duration::from_millis(5));
    }
    assert_eq!(joined.base.relay_bytes(joined.relay).unwrap().1, 0);
    let end = joined.base.stop_relay(joined.relay).unwrap();
    assert!(end.failed.is_none() && end.a_to_b <= sent as u64);
    assert!(matches!(joined.base.stop_relay(joined.relay), Err(Error::Stale)));
    assert!(matches!(joined.base.relay_bytes(joined.relay), Err(Error::Stale)));

    let output = joined.base.bufferevent(joined.b).unwrap().output();
    let place = end.a_to_b as usize - output.len();
    let bytes = output.pullup(64.min(output.len())).unwrap();
    assert!(bytes.iter().enumerate().all(|(n, &byte)| byte == block[(place + n) % block.len()]));

    // From now on its own callbacks count again, and what comes stays in the input.
    joined.base.set_read_callback(joined.a, |base, _| base.loop_break()).unwrap();
    joined.client.set_nonblocking(false).unwrap();
    joined.client.write_all(b"more").unwrap();
    net::run(&mut joined.base);
    assert!(joined.base.context().is_none(), "the relay's callback is never called");
    assert!(!joined.base.bufferevent(joined.a).unwrap().input().is_empty());
}

#[test]
fn rate_limits_hold() {
    let mut joined = joined(&RelayOptions::new());
    // 100 KiB at once, and then 500 KiB/s.
    let bucket =
        TokenBucket::new(50 * 1024, 100 * 1024, 50 * 1024, 100 * 1024, Duration::from_millis(100)).unwrap();
    joined.base.set_rate_limit(joined.a, Some(&bucket)).unwrap();
    let sent = net::pattern(400 * 1024, 6);
    let sender = send(joined.client.try_clone().unwrap(), sent.clone());
    joined.server.shutdown(Shutdown::Write).unwrap();
    let receiver = receive(joined.server.try_clone().unwrap());
    let start = Instant::now();
    let (_, end) = joined.end();
    assert!(start.elapsed() >= Duration::from_millis(550), "{:?}", start.elapsed());
    sender.join().unwrap();
    assert!(receiver.join().unwrap() == sent && end.failed.is_none());
}

#[test]
fn sides_in_a_group_share_what_it_has() {
    let mut joined = joined(&RelayOptions::new().splicing(Splicing::Always));
    let bucket =
        TokenBucket::new(50 * 1024, 50 * 1024, 50 * 1024, 50 * 1024, Duration::from_millis(20)).unwrap();
    let group = joined.base.new_rate_limit_group(&bucket).unwrap();
    joined.base.add_to_rate_limit_group(joined.a, group).unwrap();
    joined.base.add_to_rate_limit_group(joined.b, group).unwrap();
    let (there, back) = (net::pattern(300 * 1024, 7), net::pattern(200 * 1024, 8));
    let senders = [
        send(joined.client.try_clone().unwrap(), there.clone()),
        send(joined.server.try_clone().unwrap(), back.clone()),
    ];
    let receivers =
        [receive(joined.server.try_clone().unwrap()), receive(joined.client.try_clone().unwrap())];
    let (mut base, end) = joined.end();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let [at_server, at_client] = receivers.map(|receiver| receiver.join().unwrap());
    assert!(at_server == there && at_client == back && end.failed.is_none());
    assert_eq!(base.rate_limit_group(group).unwrap().totals(), (500 * 1024, 500 * 1024));
}

#[test]
fn a_timeout_ends_it() {
    let mut joined = joined(&RelayOptions::new());
    joined.base.bufferevent(joined.b).unwrap().set_timeouts(Some(Duration::from_millis(30)), None);
    let b = joined.b;
    let (_, end) = joined.end();
    let Some((id, Error::Io(error))) = &end.failed else { panic!("{end:?}") };
    assert_eq!((*id, error.kind()), (b, std::io::ErrorKind::TimedOut));
}

#[test]
fn one_side_may_still_be_connecting() {
    let mut base = EventBase::with_context(None).unwrap();
    let (listener, address) = net::server();
    let (a, mut client) = net::bufferevent(&mut base, &Options::new());
    let b = base.new_socket(None, &Options::new()).unwrap();
    base.connect(b, address).unwrap();
    base.relay(a, b, &RelayOptions::new(), note_end).unwrap();
    let server = thread::spawn(move || {
        let (mut server, _) = listener.accept().unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        text
    });
    client.write_all(b"early").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    net::run(&mut base);
    assert_eq!(server.join().unwrap(), "early");
    assert!(base.context().as_ref().unwrap().failed.is_none());
}

#[test]
fn a_connect_that_is_refused_ends_it() {
    let mut base = EventBase::with_context(None).unwrap();
    let (a, _client) = net::bufferevent(&mut base, &Options::new());
    let b = base.new_socket(None, &Options::new()).unwrap();
    base.connect(b, net::dead()).unwrap();
    base.relay(a, b, &RelayOptions::new(), note_end).unwrap();
    net::run(&mut base);
    let Some((id, Error::Io(error))) = &base.context().as_ref().unwrap().failed else { panic!() };
    assert_eq!((*id, error.kind()), (b, std::io::ErrorKind::ConnectionRefused));
}

#[test]
fn only_two_free_sockets_can_be_joined() {
    let mut base = EventBase::with_context(None).unwrap();
    let (a, _client) = net::bufferevent(&mut base, &Options::new());
    let (b, _server) = net::bufferevent(&mut base, &Options::new());
    let none = base.new_socket(None, &Options::new()).unwrap();
    let (half, _) = base.new_pair(&Options::new()).unwrap();
    let filter = base.new_filter(a, None, None, &Options::new()).unwrap();
    for (one, other) in [(b, b), (a, b), (b, half), (filter, b), (b, none)] {
        let refused = base.relay(one, other, &RelayOptions::new(), note_end);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    base.free_bufferevent(filter).unwrap();
    base.relay(a, b, &RelayOptions::new(), note_end).unwrap();
    assert!(matches!(base.new_filter(a, None, None, &Options::new()), Err(Error::Invalid(_))));
    assert!(matches!(base.set_read_callback(a, |_, _| {}), Err(Error::Invalid(_))));
}

/// What was heard before is heard after, and not meanwhile.
#[test]
fn the_callbacks_of_the_sides_rest_meanwhile() {
    let mut base: EventBase<(Option<RelayEnd>, Vec<BevEvents>)> =
        EventBase::with_context((None, Vec::new())).unwrap();
    let (a, mut client) = net::bufferevent(&mut base, &Options::new());
    let (b, mut server) = net::bufferevent(&mut base, &Options::new());
    base.set_read_callback(a, |_, _| panic!("nothing is for it")).unwrap();
    base.set_event_callback(a, |base, _, events| {
        base.context_mut().1.push(events);
        base.loop_break();
    })
    .unwrap();
    let relay = base.relay(a, b, &RelayOptions::new(), |_, end| panic!("{end:?}")).unwrap();
    client.write_all(b"x").unwrap();
    let mut byte = [0];
    net::run_for(&mut base, Duration::from_millis(20));
    server.read_exact(&mut byte).unwrap();
    assert!(base.context().1.is_empty());
    base.stop_relay(relay).unwrap();
    drop(client);
    net::run(&mut base);
    assert_eq!(base.context().1, [BevEvents::EOF | BevEvents::READING]);
}

#[test]
fn a_copying_proxy_holds_no_more_than_the_mark_and_one_read() {
    const MARK: usize = 50_000;
    let mut base = EventBase::with_context(0).unwrap();
    let (a, mut client) = net::bufferevent(&mut base, &Options::new());
    let (b, server) = net::bufferevent(&mut base, &Options::new());
    base.set_read_callback(a, move |base, id| {
        let mut bytes = Evbuffer::new();
        base.bufferevent(id).unwrap().read_buffer(&mut bytes).unwrap();
        base.bufferevent(b).unwrap().write_buffer(&mut bytes).unwrap();
        let held = base.bufferevent(b).unwrap().output().len();
        *base.context_mut() = (*base.context()).max(held);
    })
    .unwrap();
    base.set_event_callback(a, move |base, _, _| {
        base.bufferevent(b).unwrap().shutdown_after_flush();
        base.set_event_callback(b, |base, _, _| base.loop_break()).unwrap();
        base.bufferevent(b).unwrap().enable(Interest::READ);
    })
    .unwrap();
    base.pause_while_above(a, b, Some(MARK)).unwrap();
    base.bufferevent(a).unwrap().enable(Interest::READ);
    let sent = net::pattern(8 << 20, 9);
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        client.write_all(&sent).unwrap();
    });
    let receiver = thread::spawn(move || {
        let mut server = server;
        let mut bytes = vec![0; 4096];
        thread::sleep(Duration::from_millis(100));
        let mut received = Vec::new();
        loop {
            match server.read(&mut bytes).unwrap() {
                0 => return received,
                count => received.extend_from_slice(&bytes[..count]),
            }
        }
    });
    net::run(&mut base);
    sender.join().unwrap();
    assert!(receiver.join().unwrap() == expected);
    assert!(*base.context() > MARK, "the mark was reached");
    assert!(*base.context() <= MARK + zerovent::bufferevent::MAX_SINGLE_READ, "{}", base.context());
}

#[test]
fn an_echo_may_pause_itself_and_one_that_is_freed_pauses_nobody() {
    let mut base = EventBase::new().unwrap();
    let (a, mut client) = net::bufferevent(&mut base, &Options::new());
    let (b, _server) = net::bufferevent(&mut base, &Options::new());
    base.pause_while_above(a, a, Some(3)).unwrap();
    base.pause_while_above(a, b, Some(3)).unwrap();
    base.bufferevent(b).unwrap().disable(Interest::WRITE);
    base.bufferevent(b).unwrap().write(b"four").unwrap();
    base.set_read_callback(a, |base, id| {
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        output.add_buffer(input).unwrap();
    })
    .unwrap();
    base.bufferevent(a).unwrap().enable(Interest::READ);
    client.write_all(b"hello").unwrap();
    net::run_for(&mut base, Duration::from_millis(20));
    client.set_nonblocking(true).unwrap();
    assert!(client.read(&mut [0]).is_err(), "b has four bytes to send, so a does not read");
    base.free_bufferevent(b).unwrap();
    net::run_for(&mut base, Duration::from_millis(20));
    client.set_nonblocking(false).unwrap();
    assert_eq!(net::read_exact(&mut client, 5), b"hello");
    base.pause_while_above(a, a, None).unwrap();
    assert!(base.pause_while_above(a, b, Some(1)).is_err());
}

/// A limit on an output counts as a mark, and nothing turns in circles before it.
#[test]
fn a_limited_output_pauses_the_other_side() {
    let mut joined = joined(&RelayOptions::new().splicing(Splicing::Never));
    let output = joined.base.bufferevent(joined.b).unwrap();
    output.disable(Interest::WRITE);
    output.output().set_capacity_limit(Some(1000)).unwrap();
    joined.client.write_all(&[7; 5000]).unwrap();
    net::run_for(&mut joined.base, Duration::from_millis(20));
    assert_eq!(joined.base.bufferevent(joined.b).unwrap().output().len(), 1000);
    let turns = joined.base.stats().turns;
    net::run_for(&mut joined.base, Duration::from_millis(20));
    assert!(joined.base.stats().turns - turns < 10, "it spins");
    joined.base.bufferevent(joined.b).unwrap().enable(Interest::WRITE);
    net::run_for(&mut joined.base, Duration::from_millis(50));
    assert_eq!(net::read_exact(&mut joined.server, 5000), [7; 5000]);
}

#[test]
fn what_a_turn_may_read_is_as_before_afterwards() {
    let mut joined = joined(&RelayOptions::new());
    joined.base.bufferevent(joined.b).unwrap().set_max_single_read(100);
    joined.base.stop_relay(joined.relay).unwrap();
    let read = [joined.a, joined.b].map(|id| joined.base.bufferevent(id).unwrap().max_single_read());
    assert_eq!(read, [zerovent::bufferevent::MAX_SINGLE_READ, 100]);
}

/// Both sides gone at once: their relay ends, once, and nothing of it stays.
#[test]
fn freeing_both_sides_tells_once() {
    let mut joined = joined(&RelayOptions::new());
    joined.base.free_bufferevent(joined.b).unwrap();
    joined.base.free_bufferevent(joined.a).unwrap();
    let b = joined.b;
    let (mut base, end) = joined.end();
    assert!(matches!(end.failed, Some((id, Error::Stale)) if id == b));
    assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Empty);
}
