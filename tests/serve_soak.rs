//! `serve` at full load for as long as one likes: its memory and its descriptors stay what they were, and no request
//! fails. A few seconds by default; `ZEROVENT_SOAK_SECONDS` asks for more, and ten minutes is what was promised.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::http::Client;
use support::net::pattern;
use support::process::{Server, have};

/// How much memory may grow in a minute, by the line that fits best, after the first tenth. A line through noise can come
/// to a part of this; a single byte that is lost with each request comes to several times as much.
const GROWTH_MAX: f64 = 64.0 * 1024.0;

/// What was seen of the server in one second.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    resident: usize,
    descriptors: usize,
}

fn seconds() -> u64 {
    std::env::var("ZEROVENT_SOAK_SECONDS").map_or(4, |text| text.parse().expect("a number of seconds"))
}

#[test]
fn memory_and_descriptors_stay_flat_at_full_load() {
    if !have("wrk") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for (name, len) in [("1k", 1 << 10), ("16k", 16 << 10), ("128k", 128 << 10), ("1m", 1 << 20)] {
        fs::write(root.path().join(name), pattern(len, len as u64)).unwrap();
    }
    let script = root.path().join("mix.lua");
    // Mostly small files, as it is; every request must be answered 200 with all of it, which wrk checks by the length.
    let mix = "local paths = {'/1k', '/16k', '/1k', '/1k', '/128k', '/16k', '/1k', '/1m'}\nlocal at = 0\n\
        request = function() at = at % #paths + 1 return wrk.format('GET', paths[at]) end\n";
    fs::write(&script, mix).unwrap();
    let arguments = [
        root.path().to_str().unwrap(),
        "--addr",
        "127.0.0.1:0",
        "--threads",
        "2",
        "--stats",
        "--log",
        "json",
    ];
    let server = Server::start("serve", &[&arguments[..], &["--log-file", "/dev/null"]].concat());
    let before = descriptors(&server);
    let load = Command::new("wrk")
        .args(["-t2", "-c64", &format!("-d{}s", seconds()), "--timeout", "10s", "-s"])
        .arg(&script)
        .arg(format!("http://{}", server.address()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let samples = watch(&server, Duration::from_secs(seconds()));
    let report = load.wait_with_output().unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    print!("{report}");
    judge(&samples);
    assert!(report.contains("requests in"), "{report}");
    for failure in ["Socket errors", "Non-2xx"] {
        assert!(!report.contains(failure), "{report}");
    }
    let mut client = Client::over(server.connect());
    assert_eq!(client.get("/1k").status, 200);
    drop(client);
    while descriptors(&server) > before + 8 {
        thread::sleep(Duration::from_millis(20)); // connections of wrk that are being closed
    }
    assert!(server.stop("TERM").success());
}

/// Looks at the server once a second, or more often if it is for a short time.
fn watch(server: &Server, time: Duration) -> Vec<Sample> {
    let began = Instant::now();
    let step = (time / 40).min(Duration::from_secs(1));
    let mut samples = Vec::new();
    while began.elapsed() + step < time {
        thread::sleep(step);
        let (resident, descriptors) = (server.resident_bytes(), descriptors(server));
        samples.push(Sample { seconds: began.elapsed().as_secs_f64(), resident, descriptors });
    }
    samples
}

fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count()
}

fn judge(samples: &[Sample]) {
    let steady = &samples[samples.len() / 10..];
    let (first, last) = (steady[0], steady[steady.len() - 1]);
    let slope = |samples: &[Sample]| {
        60.0 * slope(samples.iter().map(|sample| (sample.seconds, sample.resident as f64)))
    };
    let (whole, later) = (slope(steady), slope(&steady[steady.len() / 2..]));
    let descriptors = || steady.iter().map(|sample| sample.descriptors);
    let (least, most) = (descriptors().min().unwrap(), descriptors().max().unwrap());
    println!(
        "{} samples in {:.0} s: {} KiB at first, {} KiB at last, {:+.1} KiB a minute, in the second half {:+.1}; \
         {least} to {most} descriptors",
        steady.len(),
        last.seconds - first.seconds,
        first.resident / 1024,
        last.resident / 1024,
        whole / 1024.0,
        later / 1024.0
    );
    // A few seconds say nothing about a slope, but much about a leak.
    let minutes = (last.seconds - first.seconds) / 60.0;
    let grown = last.resident as f64 - first.resident as f64;
    assert!(grown < 4.0 * 1024.0 * 1024.0 + GROWTH_MAX * minutes, "it grows");
    // What is taken once, and late, bends the whole line but not that of the second half.
    assert!(minutes < 2.0 || whole.min(later) < GROWTH_MAX, "it grows");
    assert!(most - least <= 16, "descriptors come and go: {least} to {most}");
}

/// Of the line that fits best.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let mean = |of: fn((f64, f64)) -> f64| points.clone().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (above, below) = points.fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
    });
    above / below
}

#[test]
fn a_slope_is_that_of_the_line_through_all_points() {
    let rising = (0..10).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x)));
    assert!((slope(rising) - 2.0).abs() < 1e-9);
    let flat = [(0.0, 1.0), (1.0, 2.0), (2.0, 2.0), (3.0, 1.0)];
    assert!(slope(flat.into_iter()).abs() < 1e-9);
}
