//! nginx, with what makes it fast at static files. The process becomes nginx, so that it says where it listens before it does: whoever
//! drives it waits for it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use socket2::{Domain, Socket, Type};

use crate::traffic;

/// Why there is none.
pub(crate) fn missing() -> Option<String> {
    match version() {
        Ok(_) => None,
        Err(error) => Some(format!("nginx cannot be started: {error}")),
    }
}

/// The version, as it tells it.
pub(crate) fn version() -> io::Result<String> {
    let output = Command::new("nginx").arg("-v").output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    Ok(text.trim().trim_start_matches("nginx version: nginx/").to_owned())
}

pub(crate) fn serve(root: &Path) {
    traffic::take_server_core();
    let address = reserve_port();
    println!("listening on {address}");
    let mut settings = tempfile::tempfile().expect("a file");
    settings.write_all(configuration(root, address).as_bytes()).expect("room in a file");
    let error = Command::new("nginx").args(["-c", "/dev/stdin"]).stdin(settings).exec();
    panic!("nginx cannot be started: {error}");
}

/// A single process; what a worker does is the same without a master.
fn configuration(root: &Path, address: SocketAddr) -> String {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nginx");
    let (root, own) = (root.display(), own.display());
    format!(
        "daemon off; master_process off; worker_processes 1; pid {own}.pid; error_log stderr crit;
         events {{ worker_connections 12000; }}
         http {{
             access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
             keepalive_requests 1000000000; open_file_cache max=1000;
             client_body_temp_path {own}.body; proxy_temp_path {own}.proxy; fastcgi_temp_path {own}.fastcgi;
             uwsgi_temp_path {own}.uwsgi; scgi_temp_path {own}.scgi;
             server {{ listen {address} reuseport; root {root}; }}
         }}"
    )
}

/// A port that nobody gets who does not share it: a socket that is bound and never listens keeps it, beyond `exec`.
fn reserve_port() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("a socket can be that");
    socket.set_cloexec(false).expect("a socket can be that");
    socket.bind(&traffic::net::any_port().into()).expect("a free port");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("an address of the loopback");
    let _ = socket.into_raw_fd();
    address
}
