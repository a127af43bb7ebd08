//! Listeners, option by option: what each does to the socket and to its connections, and sockets that somebody else made.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::net::{any_port, open_flags, run, run_for};
use zerovent::listener::{ListenOptions, ListenerId};
use zerovent::util::Address;
use zerovent::{Error, EventBase};

type Accepted = Vec<(OwnedFd, Address)>;

fn base() -> EventBase<Accepted> {
    EventBase::with_context(Accepted::new()).unwrap()
}

fn keep(base: &mut EventBase<Accepted>, _: ListenerId, socket: OwnedFd, peer: Address) {
    base.context_mut().push((socket, peer));
    base.loop_break();
}

fn listen(
    base: &mut EventBase<Accepted>,
    address: impl Into<Address>,
    options: &ListenOptions,
) -> ListenerId {
    base.listen(address, options, keep).unwrap()
}

fn inet(base: &EventBase<Accepted>, id: ListenerId) -> SocketAddr {
    base.listener(id).unwrap().address().as_inet().unwrap()
}

#[test]
fn connections_are_close_on_exec_and_block_only_if_asked_to() {
    for blocking in [false, true] {
        let mut base = base();
        let id = listen(&mut base, any_port(), &ListenOptions::new().leave_blocking(blocking));
        let _client = TcpStream::connect(inet(&base, id)).unwrap();
        run(&mut base);
        let flags = open_flags(&base.context()[0].0);
        assert_eq!(flags & libc::O_NONBLOCK == 0, blocking);
        assert_ne!(flags & libc::O_CLOEXEC, 0);
    }
}

#[test]
fn connections_are_inherited_only_if_asked() {
    for inheritable in [false, true] {
        let mut base = base();
        let options = ListenOptions::new().inheritable_connections(inheritable);
        let id = listen(&mut base, any_port(), &options);
        let _client = TcpStream::connect(inet(&base, id)).unwrap();
        run(&mut base);
        let flags = open_flags(&base.context()[0].0);
        assert_eq!(flags & libc::O_CLOEXEC == 0, inheritable);
    }
}

#[test]
fn an_ipv6_listener_takes_both_families_or_its_own_alone() {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let mut base = base();
    let dual = listen(&mut base, any, &ListenOptions::new().ipv6_only(false));
    let only = listen(&mut base, any, &ListenOptions::new().ipv6_only(true));
    let port = |id| inet(&base, id).port();
    let _v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port(dual))).unwrap();
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port(only))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    run(&mut base);
    let peer = base.context()[0].1.as_inet().unwrap();
    assert_eq!(peer.ip().to_canonical(), Ipv4Addr::LOCALHOST);
    let _v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, inet(&base, only).port())).unwrap();
    run(&mut base);
    assert_eq!(base.context()[1].1.as_inet().unwrap().ip(), Ipv6Addr::LOCALHOST);
    // Both families have a listener of their own on one port.
    let shared = SocketAddr::from((Ipv4Addr::UNSPECIFIED, inet(&base, only).port()));
    listen(&mut base, shared, &ListenOptions::new());
}

#[test]
fn a_deferred_connection_comes_with_its_first_bytes() {
    let mut base = base();
    let deferred = ListenOptions::new().deferred_accept(Duration::from_secs(30));
    let id = listen(&mut base, any_port(), &deferred);
    let mut client = TcpStream::connect(inet(&base, id)).unwrap();
    run_for(&mut base, Duration::from_millis(50));
    assert!(base.context().is_empty(), "it has said nothing yet");
    client.write_all(b"hello").unwrap();
    run(&mut base);
    let (socket, _) = base.context_mut().pop().unwrap();
    let mut hello = [0; 5];
    assert_eq!(TcpStream::from(socket).read(&mut hello).unwrap(), 5, "the bytes are there already");
}

#[test]
fn an_address_in_use_is_a_typed_error() {
    let taken = TcpListener::bind(any_port()).unwrap();
    let refused = base().listen(taken.local_addr().unwrap(), &ListenOptions::new(), keep);
    assert!(matches!(refused, Err(Error::Io(error)) if error.kind() == ErrorKind::AddrInUse));
    let elsewhere = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0));
    let refused = base().listen(elsewhere, &ListenOptions::new(), keep);
    assert!(matches!(refused, Err(Error::Io(error)) if error.kind() == ErrorKind::AddrNotAvailable));
}

#[test]
fn a_stale_socket_file_is_removed_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let mut base = base();
    let in_use = |refused| matches!(refused, Err(Error::Io(error)) if error.kind() == ErrorKind::AddrInUse);
    assert!(in_use(base.listen(address.clone(), &ListenOptions::new(), keep)));
    let replace = ListenOptions::new().replace_stale(true);
    let id = listen(&mut base, address.clone(), &replace);
    let _client = UnixStream::connect(&path).unwrap();
    run(&mut base);
    assert_eq!(base.context().len(), 1);
    // Somebody listens there now, if only this very base.
    assert!(in_use(base.listen(address.clone(), &replace, keep)));
    base.free_listener(id).unwrap();
    assert!(path.exists(), "the file is left behind, as the kernel has it");
    listen(&mut base, address, &replace);
}

#[test]
fn what_is_no_stale_socket_is_never_removed() {
    let directory = tempfile::tempdir().unwrap();
    let replace = ListenOptions::new().replace_stale(true);
    let refused = |name: &str| {
        let address: Address = format!("unix:{}", directory.path().join(name).display()).parse().unwrap();
        matches!(base().listen(address, &replace, keep), Err(Error::Io(error)) if error.kind() == ErrorKind::AddrInUse)
    };
    std::fs::write(directory.path().join("file"), "precious").unwrap();
    assert!(refused("file"));
    assert_eq!(std::fs::read_to_string(directory.path().join("file")).unwrap(), "precious");
    std::fs::create_dir(directory.path().join("directory")).unwrap();
    assert!(refused("directory"));
    // A link to a stale socket is no socket, and neither is removed.
    drop(UnixListener::bind(directory.path().join("stale")).unwrap());
    std::os::unix::fs::symlink("stale", directory.path().join("link")).unwrap();
    assert!(refused("link"));
    assert!(directory.path().join("stale").exists());
    // A datagram socket has no stream peer to refuse: it is alive.
    let _datagram = UnixDatagram::bind(directory.path().join("datagram")).unwrap();
    assert!(refused("datagram"));
}

#[test]
fn the_backlog_is_what_was_asked_for() {
    let mut base = base();
    let id = listen(&mut base, any_port(), &ListenOptions::new().backlog(1));
    let address = inet(&base, id);
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let waiting = std::iter::from_fn(|| connect().ok()).take(10).count();
    assert!((1..=3).contains(&waiting), "{waiting} connections wait in a queue for one");
}

#[test]
fn a_listening_socket_can_be_adopted() {
    let socket = TcpListener::bind(any_port()).unwrap();
    let address = socket.local_addr().unwrap();
    let mut base = base();
    let id = base.adopt_listener(socket.into(), &ListenOptions::new().disabled(true), keep).unwrap();
    assert_eq!(inet(&base, id), address);
    assert!(!base.listener(id).unwrap().is_enabled());
    let _client = TcpStream::connect(address).unwrap();
    run_for(&mut base, Duration::from_millis(20));
    assert!(base.context().is_empty());
    base.enable_listener(id).unwrap();
    let start = Instant::now();
    run(&mut base);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(SockRef::from(&base.listener(id).unwrap().fd()).nonblocking().unwrap());
    base.free_listener(id).unwrap();
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "it owned the socket");
}

#[test]
fn only_stream_sockets_that_listen_can_be_adopted() {
    let mut base = base();
    let mut adopt = |fd: OwnedFd| base.adopt_listener(fd, &ListenOptions::new(), keep);
    let (stream, datagram) = (UnixStream::pair().unwrap().0, UnixDatagram::unbound().unwrap());
    assert!(matches!(adopt(stream.into()), Err(Error::Invalid(_))));
    assert!(matches!(adopt(datagram.into()), Err(Error::Invalid(_))));
    assert!(matches!(adopt(tempfile::tempfile().unwrap().into()), Err(Error::Io(_))));
    assert_eq!(base.stats().slots, 0);
}

#[test]
fn it_may_be_disabled_and_enabled_again_inside_its_callback() {
    let mut base = EventBase::with_context(0).unwrap();
    let id = base
        .listen(any_port(), &ListenOptions::new(), |base, id, _, _| {
            *base.context_mut() += 1;
            base.disable_listener(id).unwrap();
            base.disable_listener(id).unwrap();
            base.enable_listener(id).unwrap();
            if *base.context() == 20 {
                base.loop_break();
            }
        })
        .unwrap();
    let address = base.listener(id).unwrap().address().as_inet().unwrap();
    let _clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    run(&mut base);
    assert_eq!(*base.context(), 20);
}
