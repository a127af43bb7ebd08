//! The figures as a page and as JSON. The page needs no script and fetches nothing; the browser asks for it again by
//! itself.

use std::fmt::{self, Write};
use std::time::Duration;

use serde_json::json;
use zerovent::http::{Response, Routes, Status};

use crate::Context;
use crate::stats::{Fleet, Sample, Snapshot};

/// Neither is of any use a second later, and the page may do nothing but look as it does.
const FRESH: (&str, &str) = ("Cache-Control", "no-store");
const POLICY: (&str, &str) =
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'");

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2024;--paper:#fff;--card:#f6f7f9;--faint:#6b7280;--line:#e5e7eb;--one:#0b57d0;--two:#b45309}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181c;--card:#1e2126;--faint:#9aa0aa;--line:#2d3138;--one:#8ab4f8;--two:#f0b060}}
body{margin:2rem auto;max-width:64rem;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem 1.5rem;margin-bottom:1rem}
h1{font-size:1.25rem;font-weight:600;margin:0}
header p{margin:0;color:var(--faint)}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:1rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem}
section.wide{grid-column:1/-1}
h2{font-size:.875rem;font-weight:600;color:var(--faint);margin:0 0 .25rem}
.large{font-size:1.75rem;font-weight:600;font-variant-numeric:tabular-nums}
.large small{font-size:.875rem;font-weight:400;color:var(--faint)}
table{width:100%;border-collapse:collapse}
th{font-weight:400;color:var(--faint);text-align:left;padding:.1rem 0}
td{text-align:right;font-variant-numeric:tabular-nums;padding:.1rem 0 .1rem 1rem;white-space:nowrap;vertical-align:bottom}
.large span{display:inline-block;margin-right:1.5rem;white-space:nowrap}
svg{display:block;width:100%;height:7rem;margin-top:.5rem}
polyline{fill:none;stroke-width:1.5;vector-effect:non-scaling-stroke}
.one{stroke:var(--one)}.two{stroke:var(--two)}
b.one{color:var(--one)}b.two{color:var(--two)}
.axis{stroke:var(--line);vector-effect:non-scaling-stroke}
";

/// Answers at the two places where figures are.
pub(crate) fn routes(routes: Routes<Context>, fleet: &Fleet) -> Routes<Context> {
    let (page, figures) = (fleet.clone(), fleet.clone());
    routes
        .route("GET", "/-/stats", move |_, _, responder| {
            let fleet = page.clone();
            page.survey(move |snapshot| {
                // Whoever asked may have left.
                let _ = html(&snapshot, &fleet).and_then(|response| responder.answer(response));
            });
        })
        .route("GET", "/-/stats.json", move |_, _, responder| {
            let fleet = figures.clone();
            figures.survey(move |snapshot| {
                let _ = as_json(&snapshot, &fleet).and_then(|response| responder.answer(response));
            });
        })
}

fn answer(kind: &str, text: String) -> zerovent::Result<Response> {
    let mut response = Response::new(Status::Ok)
        .with("Content-Type", kind)?
        .with(FRESH.0, FRESH.1)?
        .with(POLICY.0, POLICY.1)?;
    response.body().add_reference(text.into_bytes())?;
    Ok(response)
}

fn as_json(snapshot: &Snapshot, fleet: &Fleet) -> zerovent::Result<Response> {
    let (server, durations) = (&snapshot.server, &snapshot.durations);
    let now = fleet.history().last().copied().unwrap_or_default();
    let us = |part| u64::try_from(durations.quantile(part).as_micros()).unwrap_or(u64::MAX);
    let figures = json!({
        "uptime_seconds": fleet.uptime().as_secs_f64(),
        "threads": snapshot.threads,
        "requests": {"total": server.answers, "a_second": now.requests_a_second},
        "bytes": {
            "sent": snapshot.sent(), "sendfile": snapshot.sendfile, "memory": snapshot.memory,
            "copied": snapshot.copied, "received": snapshot.received, "sent_a_second": now.bytes_a_second,
        },
        "connections": {
            "open": server.connections, "accepted": server.accepted, "turned_away": server.turned_away,
        },
        "loop": {"turns": snapshot.turns, "waits": snapshot.waits, "calls": snapshot.calls},
        "duration_us": {
            "count": durations.count(), "p50": us(0.5), "p90": us(0.9), "p99": us(0.99), "p99_9": us(0.999),
            "max": us(1.0),
        },
        "cache": {
            "hits": server.cache_hits, "misses": server.cache_misses, "files": server.cached_files,
            "bytes": server.cached_bytes,
        },
    });
    answer("application/json", format!("{figures:#}\n"))
}

fn html(snapshot: &Snapshot, fleet: &Fleet) -> zerovent::Result<Response> {
    let mut page = String::with_capacity(8 << 10);
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, snapshot, fleet);
    answer("text/html; charset=utf-8", page)
}

fn write_page(page: &mut String, snapshot: &Snapshot, fleet: &Fleet) -> fmt::Result {
    let history = fleet.history();
    let (uptime, threads) = (Brief(fleet.uptime()), snapshot.threads);
    write!(page, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n")?;
    writeln!(page, "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")?;
    writeln!(page, "<meta http-equiv=\"refresh\" content=\"2\">")?;
    write!(page, "<title>serve: figures</title>\n<style>{STYLE}</style>\n<header><h1>serve</h1>")?;
    let plural = if threads == 1 { "" } else { "s" };
    writeln!(page, "<p>up for {uptime}</p><p>{threads} thread{plural}</p></header>\n<main>")?;
    write_chart(page, &history)?;
    write_tables(page, snapshot)?;
    writeln!(page, "</main>")
}

/// The last two minutes: requests and bytes, each against the most that there was.
fn write_chart(page: &mut String, history: &[Sample]) -> fmt::Result {
    let now = history.last().copied().unwrap_or_default();
    let (requests, bytes) = (Grouped(now.requests_a_second as u64), Size(now.bytes_a_second as u64));
    writeln!(
        page,
        "<section class=\"wide\"><h2>Now, and in the last two minutes, each against its highest</h2>"
    )?;
    write!(
        page,
        "<div class=\"large\"><span><b class=\"one\">{requests}</b> <small>requests a second</small></span>"
    )?;
    writeln!(page, "<span><b class=\"two\">{bytes}</b> <small>a second</small></span></div>")?;
    writeln!(page, "<svg viewBox=\"0 0 120 40\" preserveAspectRatio=\"none\" aria-hidden=\"true\">")?;
    writeln!(page, "<line class=\"axis\" x1=\"0\" y1=\"39.5\" x2=\"120\" y2=\"39.5\"/>")?;
    write_curve(page, "two", history.iter().map(|sample| sample.bytes_a_second))?;
    write_curve(page, "one", history.iter().map(|sample| sample.requests_a_second))?;
    writeln!(page, "</svg></section>")
}

fn write_curve(
    page: &mut String,
    class: &str,
    values: impl ExactSizeIterator<Item = f64> + Clone,
) -> fmt::Result {
    let most = values.clone().fold(1.0, f64::max);
    let first = 120 - values.len();
    write!(page, "<polyline class=\"{class}\" points=\"")?;
    for (at, value) in values.enumerate() {
        write!(page, "{},{:.2} ", first + at, 39.0 - 37.0 * value / most)?;
    }
    writeln!(page, "\"/>")
}

fn write_tables(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let (server, durations) = (&snapshot.server, &snapshot.durations);
    let lookups = server.cache_hits + server.cache_misses;
    let quantile = |part| Brief(durations.quantile(part)).to_string();
    let count = |count: u64| Grouped(count).to_string();
    let size = |bytes: u64| Size(bytes).to_string();
    table(
        page,
        "Requests",
        &count(server.answers),
        "answered",
        &[
            ("half of them within", quantile(0.5)),
            ("90 % within", quantile(0.9)),
            ("99 % within", quantile(0.99)),
            ("99.9 % within", quantile(0.999)),
            ("the slowest", quantile(1.0)),
        ],
    )?;
    table(
        page,
        "Bytes",
        &size(snapshot.sent()),
        "sent",
        &[
            ("straight from files (sendfile)", size(snapshot.sendfile)),
            ("from memory", size(snapshot.memory)),
            ("copied within the program", size(snapshot.copied)),
            ("received", size(snapshot.received)),
        ],
    )?;
    table(
        page,
        "Connections",
        &count(server.connections as u64),
        "open",
        &[("accepted", count(server.accepted)), ("turned away", count(server.turned_away))],
    )?;
    table(
        page,
        "Files",
        &count(server.cached_files as u64),
        "kept open or in memory",
        &[
            ("found without a system call", Share(server.cache_hits, lookups).to_string()),
            ("looked up", count(lookups)),
            ("in memory", size(server.cached_bytes as u64)),
        ],
    )?;
    table(
        page,
        "Loops",
        &count(snapshot.turns),
        "turns",
        &[
            ("waits for the kernel", count(snapshot.waits)),
            ("calls", count(snapshot.calls)),
            ("calls a turn", format!("{:.1}", snapshot.calls as f64 / snapshot.turns.max(1) as f64)),
        ],
    )
}

fn table(page: &mut String, title: &str, large: &str, of: &str, rows: &[(&str, String)]) -> fmt::Result {
    write!(
        page,
        "<section><h2>{title}</h2>\n<div class=\"large\">{large} <small>{of}</small></div>\n<table>"
    )?;
    for (label, value) in rows {
        write!(page, "<tr><th scope=\"row\">{label}</th><td>{value}</td></tr>")?;
    }
    writeln!(page, "</table></section>")
}

/// A number with its thousands apart.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char('\u{202f}')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let (mut value, mut unit) = (self.0 as f64 / 1e3, 0);
        while value >= 999.95 && unit + 1 < UNITS.len() {
            (value, unit) = (value / 1e3, unit + 1);
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// A part of a whole.
struct Share(u64, u64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => f.write_char('\u{2013}'),
            whole => write!(f, "{:.1} %", 100.0 * self.0 as f64 / whole as f64),
        }
    }
}

/// A time to two units, or to three digits.
struct Brief(Duration);

impl fmt::Display for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, us) = (self.0.as_secs(), self.0.as_micros());
        match seconds {
            0 if us < 1000 => write!(f, "{us} \u{b5}s"),
            0 => write!(f, "{:.1} ms", us as f64 / 1e3),
            1..60 => write!(f, "{:.1} s", us as f64 / 1e6),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3600..86_400 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds / 3600 % 24),
        }
    }
}
