//! redsocks: writes callbacks into its bufferevents, reads their marks and their events' descriptors, and shuts directions down one by
//! one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::each_library;
use crate::support::net::{any_port, free_address, pattern};
use crate::support::programs::{Program, ask, connect};

/// A SOCKS server that takes everybody to an echo.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind(any_port()).expect("there are ports left");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes early is no failure of the server's.
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting)?;
    stream.read_exact(&mut vec![0; usize::from(greeting[1])])?;
    stream.write_all(&[5, 0])?;
    stream.read_exact(&mut [0; 10])?;
    stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1])?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(&bytes[..count])?;
    }
}

#[test]
fn relays_through_a_proxy() {
    each_library(|library| {
        let folder = tempfile::tempdir().expect("there is room");
        let (config, local, proxy) = (folder.path().join("redsocks.conf"), free_address(), upstream());
        let text = format!(
            "base {{ log = \"stderr\"; daemon = off; redirector = generic; }}\n\
             redsocks {{ local_ip = 127.0.0.1; local_port = {}; ip = 127.0.0.1; port = {}; type = socks5; }}\n",
            local.port(),
            proxy.port()
        );
        fs::write(&config, text).expect("there is room");
        let arguments = ["-c".as_ref(), config.as_os_str()];
        let Some(mut program) = Program::start(library, "redsocks", &arguments) else { return };
        program.await_port(local);
        let mut streams: Vec<_> = (0..20).map(|_| connect(local)).collect();
        for (number, stream) in streams.iter_mut().enumerate() {
            let text = format!("connection {number}\n").repeat(100).into_bytes();
            ask(stream, &text, &text);
        }
        echo_much(&streams[0]);
        for mut stream in streams {
            stream.shutdown(Shutdown::Write).expect("it is open");
            assert_eq!(stream.read(&mut [0; 8]).expect("it ends"), 0, "the end comes back");
        }
        program.check_alive();
        assert!(program.stop("TERM").success());
    });
}

/// More than fits into all the buffers on the way, so that each side has to wait for the other.
fn echo_much(stream: &TcpStream) {
    let bytes = pattern(8 << 20, 3);
    let mut received = vec![0; bytes.len()];
    thread::scope(|scope| {
        scope.spawn(|| (&*stream).write_all(&bytes).expect("it is read"));
        (&*stream).read_exact(&mut received).expect("it comes back");
    });
    assert!(received == bytes, "what comes back is what was sent");
}
