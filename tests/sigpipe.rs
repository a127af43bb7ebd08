//! No bufferevent raises SIGPIPE, whatever its bytes are stored in: memory, a file, a kernel pipe. In a process of its own, because the
//! disposition of a signal is the process's, and its death is what is looked for.

mod support;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use support::net;
use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options, RelayOptions, Splicing};

const CHILD: &str = "ZEROVENT_TEST_BUFFEREVENT_SIGPIPE_CHILD";

#[test]
fn no_bufferevent_raises_sigpipe() {
    if std::env::var(CHILD).is_ok() {
        return write_to_the_dead();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "no_bufferevent_raises_sigpipe", "--nocapture"]).env(CHILD, "1");
    let child = command.output().unwrap();
    let text = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.signal(), None, "killed; {text}");
    assert!(child.status.success() && text.contains("survived all three"), "{text}");
}

fn write_to_the_dead() {
    // SAFETY: restoring the default disposition runs no code of ours.
    #[allow(unsafe_code, reason = "restoring the default of SIGPIPE has no safe interface in std")]
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL)
    };
    let mut base = EventBase::with_context(None).unwrap();
    let id = to_a_dead_peer(&mut base);
    base.bufferevent(id).unwrap().write(b"memory").unwrap();
    assert_refused(&mut base);

    let id = to_a_dead_peer(&mut base);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; 100_000]).unwrap();
    base.bufferevent(id).unwrap().output().add_file(file, 0, None).unwrap();
    assert_refused(&mut base);

    let id = to_a_dead_peer(&mut base);
    let (near, mut client) = UnixStream::pair().unwrap();
    let source = base.new_socket(Some(near.into()), &Options::new()).unwrap();
    let options = RelayOptions::new().splicing(Splicing::Always);
    base.relay(source, id, &options, |base, end| {
        assert!(end.failed.is_some_and(|(failed, _)| failed == end.b));
        *base.context_mut() = Some(BevEvents::ERROR | BevEvents::WRITING);
        base.loop_break();
    })
    .unwrap();
    client.write_all(b"through a pipe").unwrap();
    assert_refused(&mut base);
    eprintln!("survived all three");
}

fn to_a_dead_peer(base: &mut EventBase<net::Told>) -> BuffereventId {
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    let id = base.new_socket(Some(near.into()), &Options::new()).unwrap();
    base.set_event_callback(id, |base, _, events| {
        *base.context_mut() = Some(events);
        base.loop_break();
    })
    .unwrap();
    id
}

fn assert_refused(base: &mut EventBase<net::Told>) {
    net::run(base);
    assert_eq!(base.context_mut().take(), Some(BevEvents::ERROR | BevEvents::WRITING));
}
