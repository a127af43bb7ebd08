//! The rows, the columns and the goals of the tables of static files, and the servers.

mod by_libevent;
mod by_nginx;
mod by_zerovent;
mod floor;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::measure::{self, Column, Goal, Plan, Servers, Work};
use crate::traffic::client::Client;
use crate::traffic::{self, Server};

const ZEROVENT: &str = "zerovent";
const ADD_FILE: &str = "C add_file";
const TUNED: &str = "C tuned";
pub(crate) const NGINX: &str = "nginx";
const FLOOR: &str = "floor";

const COLUMNS: [Column; 5] = [
    Column::alone(ZEROVENT),
    Column::alone(ADD_FILE),
    Column::alone(TUNED),
    Column::alone(NGINX),
    Column::alone(FLOOR),
];

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A row: bytes of a file, how that reads, what of the others' costs is the goal, and the load.
struct Size {
    len: usize,
    text: &'static str,
    /// Against C's `evbuffer_add_file`, the tuned server, and nginx.
    goals: [f64; 3],
    connections: usize,
    /// A measurement makes at least so many requests.
    requests_min: u64,
}

const ROWS: [Size; 5] = [
    Size { len: KIB, text: "1 KiB", goals: [0.35, 0.40, 0.80], connections: 50, requests_min: 4000 },
    Size { len: 16 * KIB, text: "16 KiB", goals: [0.28, 0.45, 0.80], connections: 50, requests_min: 4000 },
    Size { len: 128 * KIB, text: "128 KiB", goals: [0.30, 0.60, 0.65], connections: 50, requests_min: 1000 },
    Size { len: MIB, text: "1 MiB", goals: [0.40, 1.05, 0.80], connections: 16, requests_min: 200 },
    Size {
        len: 100 * MIB,
        text: "100 MiB, a MiB",
        goals: [0.75, 1.10, 1.05],
        connections: 2,
        requests_min: 4,
    },
];

/// The most system calls a request for a file that is not sent in pieces.
const CALLS_MAX: f64 = 3.2;

impl Size {
    /// From here on it is a matter of the client's readiness which side's time the kernel's work is charged to.
    fn is_large(&self) -> bool {
        self.len >= MIB
    }

    /// Operations of a request: the largest files are measured by the MiB.
    fn operations(&self) -> u64 {
        if self.len > MIB { (self.len / MIB) as u64 } else { 1 }
    }

    fn row(&self) -> measure::Row {
        let of = [ADD_FILE, TUNED, NGINX];
        let goals = of.into_iter().zip(self.goals).map(|(of, most)| Goal { of, most }).collect();
        measure::Row {
            allowance: if self.is_large() { measure::ALLOWANCE_LARGE } else { measure::ALLOWANCE },
            calls_max: (!self.is_large()).then_some(CALLS_MAX),
            ..measure::Row::new(self.text.replace(' ', ""), self.text, goals)
        }
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        name: "serve",
        rows: ROWS.iter().map(Size::row).collect(),
        columns: &COLUMNS,
        work,
        missing,
        settle: |_| traffic::step_aside(),
        servers: Some(Servers { serve, calls: Some(calls) }),
    }
}

/// The version of nginx, if there is one.
#[allow(dead_code, reason = "only the bench `compare` asks")]
pub(crate) fn nginx_version() -> io::Result<String> {
    by_nginx::version()
}

/// Bytes of the file of a row.
#[allow(dead_code, reason = "only the bench `compare` asks")]
pub(crate) fn length_of(row: usize) -> usize {
    ROWS[row].len
}

fn missing(subject: &str) -> Option<String> {
    match subject {
        ADD_FILE | TUNED => traffic::libevent::missing(),
        NGINX if !cfg!(feature = "compare") => Some("it needs the feature `compare`".to_owned()),
        NGINX => by_nginx::missing(),
        _ => None,
    }
}

/// What a process with `--server` does: serves a directory.
fn serve(words: &[String]) {
    let root = Path::new(&words[1]);
    match words[0].as_str() {
        ADD_FILE => by_libevent::serve(root, false),
        TUNED => by_libevent::serve(root, true),
        NGINX => by_nginx::serve(root),
        FLOOR => floor::serve(root),
        _ => by_zerovent::serve(root),
    }
}

/// A directory with one file in it. It is made once and kept with what cargo builds, for two reasons: a file that has just been changed has a
/// weak entity tag for a moment, so that its answers would change their length, and the largest takes longer to write than to measure.
pub(crate) struct Site {
    root: PathBuf,
}

/// How long after its last change a file is served the way it always will be.
const AT_REST: Duration = Duration::from_secs(3);

impl Site {
    pub(crate) const TARGET: &str = "/file.bin";

    pub(crate) fn new(len: usize) -> Site {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("serve").join(len.to_string());
        let path = root.join(&Site::TARGET[1..]);
        if !fs::metadata(&path).is_ok_and(|found| found.len() == len as u64) {
            fs::create_dir_all(&root).expect("a directory");
            fs::write(&path, vec![b'x'; len]).expect("room for a file");
        }
        let changed = fs::metadata(&path).and_then(|found| found.modified()).expect("it is there");
        std::thread::sleep(AT_REST.saturating_sub(changed.elapsed().unwrap_or_default()));
        Site { root }
    }

    /// What tells a process to serve this.
    fn words<'a>(&'a self, subject: &'a str) -> [&'a str; 2] {
        [subject, self.root.to_str().expect("a path in UTF-8")]
    }

    pub(crate) fn start(&self, subject: &str) -> Server {
        traffic::start("serve", &self.words(subject))
    }
}

fn work(row: usize, subject: &str) -> Option<Work> {
    let size = &ROWS[row];
    let site = Site::new(size.len);
    let server = site.start(subject);
    let mut client = Client::new(&server, size.connections, Site::TARGET, size.len);
    Some(Box::new(move |count| {
        let requests_min = if measure::is_smoke() { 4 } else { size.requests_min };
        let requests = count.div_ceil(size.operations()).max(requests_min);
        let work = || {
            client.run(requests);
            requests * size.operations()
        };
        if size.is_large() {
            traffic::time_of_both(&server, count, work)
        } else {
            traffic::server_time(&server, count, work)
        }
    }))
}

/// System calls a request.
fn calls(row: usize, subject: &str) -> f64 {
    let size = &ROWS[row];
    let site = Site::new(size.len);
    let requests = if measure::is_smoke() { 4 } else { size.requests_min };
    let each = traffic::calls_each("serve", &site.words(subject), requests, |server, requests| {
        Client::new(server, size.connections, Site::TARGET, size.len).run(requests);
    });
    each / size.operations() as f64
}
