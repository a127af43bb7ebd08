//! The server by zerovent, as the example `echo` has it.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::listener::ListenOptions;

pub(crate) fn serve(listener: TcpListener) {
    let mut base = EventBase::new().expect("a loop");
    let options = ListenOptions::new();
    let listening = base.adopt_listener(listener.into(), &options, |base, _, socket, _| accept(base, socket));
    listening.expect("a listener");
    base.dispatch().expect("the loop runs");
}

fn accept(base: &mut EventBase, socket: OwnedFd) {
    let id = base.new_socket(Some(socket), &Options::new()).expect("a bufferevent");
    base.set_read_callback(id, echo).expect("it lives");
    base.set_event_callback(id, free).expect("it lives");
    base.bufferevent(id).expect("it lives").enable(Interest::READ);
}

fn echo(base: &mut EventBase, id: BuffereventId) {
    let (input, output) = base.bufferevent(id).expect("it lives").buffers();
    output.add_buffer(input).expect("the output accepts");
}

fn free(base: &mut EventBase, id: BuffereventId, _: BevEvents) {
    base.free_bufferevent(id).expect("it lives");
}
