//! zerovent's server of files, as the example `serve` has it.

use std::path::Path;

use zerovent::EventBase;
use zerovent::http::{Server, ServerOptions, StaticFiles};

use crate::traffic;

pub(crate) fn serve(root: &Path) {
    traffic::take_server_core();
    let mut base = EventBase::new().expect("a loop");
    let files = StaticFiles::new(root).expect("a directory");
    let address = traffic::net::any_port();
    let server = Server::bind(&mut base, address, ServerOptions::new(), files).expect("a port");
    println!("listening on {}", server.local_addr());
    base.dispatch().expect("the loop runs");
}
