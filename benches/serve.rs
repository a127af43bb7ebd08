//! Static files over the loopback: a server thread, and one blocking client that keeps a connection busy. An
//! iteration is one request and its whole answer; the throughput is in bytes of the body.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zerovent::EventBase;
use zerovent::http::{Server, ServerOptions, StaticFiles};

const SIZES: [usize; 4] = [1 << 10, 16 << 10, 128 << 10, 1 << 20];

/// Serves for as long as the process lives.
fn start_server(root: &Path) -> SocketAddr {
    let (sender, address) = mpsc::channel();
    let root: PathBuf = root.to_owned();
    thread::spawn(move || {
        let mut base = EventBase::new().expect("a loop");
        let files = StaticFiles::new(root).expect("a directory");
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(&mut base, any_port, ServerOptions::new(), files).expect("a port");
        sender.send(server.local_addr()).expect("the bench waits");
        base.dispatch()
    });
    address.recv().expect("the server started")
}

/// Sends the request and reads head and body into `buffer`, which holds both.
fn fetch(stream: &mut TcpStream, request: &[u8], body_len: usize, buffer: &mut [u8]) {
    stream.write_all(request).expect("sent");
    let mut len = 0;
    let head_len = loop {
        len += stream.read(&mut buffer[len..]).expect("received");
        if let Some(at) = buffer[..len.min(1024)].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
    };
    while len < head_len + body_len {
        len += stream.read(&mut buffer[len..]).expect("received");
    }
}

fn files_over_loopback(c: &mut Criterion) {
    let root = tempfile::tempdir().expect("a directory");
    let address = start_server(root.path());
    let mut group = c.benchmark_group("serve");
    for len in SIZES {
        std::fs::write(root.path().join(len.to_string()), vec![b'x'; len]).expect("a file");
        let mut stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let request = format!("GET /{len} HTTP/1.1\r\nHost: bench\r\n\r\n");
        let mut buffer = vec![0; len + 1024];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("keep-alive", len), |b| {
            b.iter(|| fetch(&mut stream, request.as_bytes(), len, &mut buffer));
        });
    }
    group.finish();
}

criterion_group!(benches, files_over_loopback);
criterion_main!(benches);
