//! What a connection costs a server in memory while nothing happens on it: the growth of what the process has resident, over many of them
//! that have each been served once.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::measure::table::{Line, Table, Verdict, whole};
use crate::measure::{self, Plan};
use crate::serve::Site;
use crate::traffic::{self, Server, client};

/// Descriptors allow twice as many; every row of performance figures elsewhere has this number.
const CONNECTIONS: usize = 9000;
/// The most bytes that an idle connection of the echo server may take.
const ECHO_MAX: f64 = 600.0;

/// A row: idle connections of echo servers, or of HTTP servers.
pub(crate) fn table(echo: &Plan) -> Table {
    traffic::allow_many_descriptors();
    traffic::step_aside();
    let echoing: Vec<&str> = echo.subjects();
    let serving = crate::serve::plan().subjects();
    let mut names = echoing.clone();
    names.extend(serving.iter().filter(|name| !echoing.contains(name)).copied());
    let echo_figures: Vec<Option<f64>> =
        names.iter().map(|name| echoing.contains(name).then(|| after_an_echo(name))).collect();
    let serve_figures = names.iter().map(|name| serving.contains(name).then(|| after_a_file(name))).collect();
    let verdicts = echo_figures[0].map(|bytes| Verdict::of_count(bytes, ECHO_MAX)).into_iter().collect();
    let lines = vec![
        Line { text: "bytes, after an echo of 64 B", figures: echo_figures, verdicts },
        Line { text: "bytes, after a file of 1 KiB", figures: serve_figures, verdicts: Vec::new() },
    ];
    Table { first: "an idle connection", names, lines, show: whole }
}

fn after_an_echo(name: &str) -> f64 {
    let server = traffic::start("echo", &[name]);
    growth(&server, |stream| {
        let mut answer = [0; 64];
        stream.write_all(&[b'x'; 64]).expect("the server reads");
        stream.read_exact(&mut answer).expect("the server answers");
    })
}

fn after_a_file(name: &str) -> f64 {
    let len = 1 << 10;
    let site = Site::new(len);
    let server = site.start(name);
    client::wait_for(&server);
    growth(&server, |stream| client::get_once(stream, Site::TARGET, len))
}

/// Bytes that a connection adds, the first of which is not counted.
fn growth(server: &Server, mut serve_once: impl FnMut(&mut TcpStream)) -> f64 {
    let count = if measure::is_smoke() { 50 } else { CONNECTIONS };
    let mut connected = || {
        let mut stream = server.connect();
        serve_once(&mut stream);
        stream
    };
    let _first = connected();
    let before = server.resident_bytes();
    let streams: Vec<TcpStream> = (0..count).map(|_| connected()).collect();
    server.resident_bytes().saturating_sub(before) as f64 / streams.len() as f64
}
