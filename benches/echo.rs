//! Echo over the loopback: a server thread with the book's callbacks, and blocking clients that keep one or fifty
//! connections busy. An iteration is one round trip on every connection; the throughput is in round trips.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::listener::ListenOptions;

/// Serves for as long as the process lives.
fn start_server() -> SocketAddr {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        let mut base = EventBase::new().expect("a loop");
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = ListenOptions::new();
        let listener =
            base.listen(any_port, &options, |base, _, socket, _| serve(base, socket)).expect("a listener");
        let bound = base.listener(listener).expect("it lives").address().as_inet();
        sender.send(bound.expect("an IP address")).expect("the bench waits");
        base.dispatch()
    });
    address.recv().expect("the server started")
}

fn serve(base: &mut EventBase, socket: OwnedFd) {
    let id = base.new_socket(Some(socket), &Options::new()).expect("a bufferevent");
    base.set_read_callback(id, echo).expect("it lives");
    base.set_event_callback(id, free).expect("it lives");
    base.bufferevent(id).expect("it lives").enable(Interest::READ | Interest::WRITE);
}

fn echo(base: &mut EventBase, id: BuffereventId) {
    let (input, output) = base.bufferevent(id).expect("it lives").buffers();
    output.add_buffer(input).expect("the output accepts");
}

fn free(base: &mut EventBase, id: BuffereventId, _: BevEvents) {
    base.free_bufferevent(id).expect("it lives");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
}

fn round_trips(streams: &mut [TcpStream], sent: &[u8], received: &mut [u8]) {
    for stream in streams.iter_mut() {
        stream.write_all(sent).expect("sent");
    }
    for stream in streams {
        stream.read_exact(received).expect("received");
        black_box(&received);
    }
}

fn echo_over_loopback(c: &mut Criterion) {
    let address = start_server();
    let mut group = c.benchmark_group("echo");
    for connections in [1_usize, 50] {
        for len in [64_usize, 16 * 1024] {
            let mut streams: Vec<TcpStream> = (0..connections).map(|_| connect(address)).collect();
            let (sent, mut received) = (vec![b'x'; len], vec![0; len]);
            group.throughput(Throughput::Elements(connections as u64));
            group.bench_function(BenchmarkId::new(format!("{connections} connections"), len), |b| {
                b.iter(|| round_trips(&mut streams, &sent, &mut received));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, echo_over_loopback);
criterion_main!(benches);
