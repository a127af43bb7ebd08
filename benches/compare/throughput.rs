//! Requests a second, and the server's time a request, under `wrk`: one thread and fifty connections for a second, server by server in turns.

use std::process::Command;
use std::time::Duration;

use crate::measure::table::{Line, Spread, Table, Verdict, nanoseconds, whole};
use crate::measure::{self, Plan, Row};
use crate::serve::{NGINX, Site, length_of};
use crate::traffic::{self, Server, client};

const ROUNDS: usize = 7;
/// From here on a second brings too few requests to count them.
const LEN_MAX: usize = 1 << 20;

/// What each round found, a list a server: requests a second, and nanoseconds of the server's a request.
struct Found {
    requests: Vec<Vec<f64>>,
    time_ns: Vec<Vec<f64>>,
}

/// The tables of both.
pub(crate) fn tables(plan: &Plan, only: Option<&str>) -> [Table; 2] {
    traffic::step_aside();
    let names = plan.subjects();
    let rows = plan.chosen_rows(only).filter(|(index, _)| length_of(*index) <= LEN_MAX);
    let mut lines = [Vec::new(), Vec::new()];
    for (index, row) in rows {
        let found = measure_row(index, &names);
        lines[0].push(line(row, &names, &found.requests));
        lines[1].push(line(row, &names, &found.time_ns));
        eprintln!("wrk: {} has been measured", row.text);
    }
    let [requests, time] = lines;
    [
        Table { first: "size", names: names.clone(), lines: requests, show: whole },
        Table { first: "size", names, lines: time, show: nanoseconds },
    ]
}

fn line(row: &Row, names: &[&'static str], rounds: &[Vec<f64>]) -> Line {
    let figures = rounds.iter().map(|values| Some(Spread::of(values.clone())?.median)).collect();
    let nginx = names.iter().position(|name| *name == NGINX);
    let verdicts =
        nginx.and_then(|nginx| Verdict::told(NGINX, &rounds[0], &rounds[nginx])).into_iter().collect();
    Line { text: row.text, figures, verdicts }
}

fn measure_row(row: usize, names: &[&str]) -> Found {
    let site = Site::new(length_of(row));
    let servers: Vec<Server> = names.iter().map(|name| site.start(name)).collect();
    servers.iter().for_each(client::wait_for);
    let mut found = Found { requests: vec![Vec::new(); names.len()], time_ns: vec![Vec::new(); names.len()] };
    for _ in 0..if measure::is_smoke() { 1 } else { ROUNDS } {
        for (index, server) in servers.iter().enumerate() {
            let (requests, time) = load(server);
            found.requests[index].push(requests);
            found.time_ns[index].push(time.as_nanos() as f64);
        }
    }
    found
}

/// Requests a second, and the server's time for one.
fn load(server: &Server) -> (f64, Duration) {
    let url = format!("http://{}{}", server.address(), Site::TARGET);
    let mut report = String::new();
    let time = traffic::server_time(server, 1, || {
        let output =
            Command::new("wrk").args(["-t1", "-c50", "-d1s", &url]).output().expect("wrk is installed");
        report = String::from_utf8_lossy(&output.stdout).into_owned();
        number_before(&report, " requests in ") as u64
    });
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    (number_after(&report, "Requests/sec:"), time)
}

fn number_before(report: &str, words: &str) -> f64 {
    let before = report.split_once(words).and_then(|(before, _)| before.split_whitespace().last());
    before.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("wrk has reported:\n{report}"))
}

fn number_after(report: &str, words: &str) -> f64 {
    let after = report.split_once(words).and_then(|(_, after)| after.split_whitespace().next());
    after.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("wrk has reported:\n{report}"))
}
