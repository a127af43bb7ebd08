//! All subjects in one run: processes that do as they are told, measured in turns, so that what happens to the machine happens
//! to all of them. C libevent has two of its own, one with the heap as it comes and one that keeps what it was given back; they
//! are new in every row, because what a default heap costs depends on what lies at its end.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::rows::{ROWS, Row, Subject};
use crate::work;

/// Rounds of a row with the same processes. Each gives one pair for each ratio.
const ROUNDS: usize = 7;
/// How often the processes of a row are started anew: some operations take twice as long at unlucky addresses.
const STARTS: usize = 5;
/// What the goals allow for small operations.
const ALLOWANCE: f64 = 1.05;
/// How long one measurement should take.
const TARGET_NS: f64 = 4e6;

/// A column of the table: who, and in which of the processes.
#[derive(Clone, Copy, PartialEq)]
struct Column {
    subject: Subject,
    worker: usize,
    name: &'static str,
}

/// The processes, by the heap they have.
const HEAPS: [&str; 3] = ["default", "default", "warm"];

const COLUMNS: [Column; 5] = [
    Column { subject: Subject::Zerovent, worker: 0, name: "zerovent" },
    Column { subject: Subject::C, worker: 2, name: "C, warm heap" },
    Column { subject: Subject::C, worker: 1, name: "C" },
    Column { subject: Subject::Bytes, worker: 0, name: "bytes" },
    Column { subject: Subject::Floor, worker: 0, name: "floor" },
];

/// What zerovent may cost of what the column `of` costs.
struct Goal {
    of: usize,
    most: f64,
}

fn goals(row: Row) -> Vec<Goal> {
    let warm = |most| Goal { of: 1, most };
    let default = |most| Goal { of: 2, most };
    match row {
        Row::Append => vec![warm(0.55)],
        Row::AppendMany => vec![warm(0.55), default(0.20)],
        Row::PingPong | Row::ReferenceStatic | Row::Prepend => vec![warm(0.40)],
        Row::Large => vec![warm(1.0), Goal { of: 3, most: 1.1 }],
        Row::LargeMany => vec![warm(1.0), default(0.05), Goal { of: 3, most: 1.1 }],
        Row::ReferenceCounted | Row::Peek => vec![warm(0.75)],
        Row::MoveOne | Row::MoveHundred | Row::MoveBehind | Row::LineOwned => vec![warm(0.50)],
        Row::LineBorrowed | Row::Reserve => vec![warm(0.25)],
        Row::Search => vec![warm(0.12), Goal { of: 4, most: 1.2 }],
        Row::SearchAbsent => vec![warm(1.2)],
        Row::Pullup | Row::Remove => vec![warm(1.0)],
        Row::RemoveBuffer => vec![warm(0.35), Goal { of: 3, most: 1.5 }],
    }
}

/// A process that measures on request.
struct Worker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(heap: &str) -> Worker {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args(["--serve", heap]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Worker { child, answers }
    }

    /// Nanoseconds that `count` operations took; `None` when there is no such work.
    fn ask(&mut self, row: usize, subject: Subject, count: u64) -> Option<f64> {
        let requests = self.child.stdin.as_mut().expect("it is piped");
        writeln!(requests, "{row} {} {count}", subject.name()).expect("the worker listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the worker answers");
        answer.trim().parse().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.child.stdin.take());
        self.child.wait().expect("a child that was started here");
    }
}

/// The worker's side.
pub(crate) fn serve(warm: bool) {
    if warm {
        keep_the_heap();
    }
    let mut made: Vec<(usize, Subject, crate::rows::Work)> = Vec::new();
    for request in stdin().lines() {
        let request = request.expect("requests are text");
        let parts: Vec<&str> = request.split(' ').collect();
        let [row, name, count] = parts[..] else { return };
        let (row, count): (usize, u64) = (number(row) as usize, number(count));
        let subject = subject_called(name);
        if made.iter().all(|(at, whose, _)| (*at, *whose) != (row, subject)) {
            // The rows come one after the other, and the work of those before is only in the way.
            made.retain(|(at, ..)| *at == row);
            made.extend(work(ROWS[row].0, subject).map(|work| (row, subject, work)));
        }
        let found = made.iter_mut().find(|(at, whose, _)| (*at, *whose) == (row, subject));
        match found {
            Some((.., work)) => println!("{}", work(count).as_nanos()),
            None => println!("none"),
        }
        stdout().flush().expect("somebody reads");
    }
}

/// Has malloc keep what is freed, instead of giving it back to the kernel and asking for it again.
#[allow(unsafe_code, reason = "mallopt is a function of the C library")]
fn keep_the_heap() {
    for parameter in [libc::M_TRIM_THRESHOLD, libc::M_TOP_PAD] {
        // SAFETY: it only sets a number, and no other thread runs yet.
        let accepted = unsafe { libc::mallopt(parameter, 512 << 20) };
        assert_eq!(accepted, 1, "glibc takes the parameter");
    }
}

/// `--count ROW SUBJECT N`: does the work once, for somebody who counts.
pub(crate) fn run_once(arguments: &[String]) {
    let [row, name, count] = arguments else { panic!("--count ROW SUBJECT N") };
    let work = work(ROWS[number(row) as usize].0, subject_called(name));
    println!("{:?}", work.expect("work of that row")(number(count)));
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn subject_called(name: &str) -> Subject {
    Subject::ALL.into_iter().find(|subject| subject.name() == name).expect("a subject")
}

/// The table of times and ratios, in Markdown; all rows, or those whose [`Row`] has the second argument in its name.
pub(crate) fn print_table() {
    println!("libevent {}", crate::libevent::version().unwrap_or_else(|error| error));
    println!("| operation | {} | zerovent against |", COLUMNS.map(|column| column.name).join(" | "));
    println!("|---|{}---|", "---|".repeat(COLUMNS.len()));
    let only = std::env::args().skip(2).find(|argument| !argument.starts_with("--"));
    for (index, (row, text)) in ROWS.into_iter().enumerate() {
        if only.as_ref().is_some_and(|only| !format!("{row:?}").contains(only.as_str())) {
            continue;
        }
        let mut rounds = vec![Vec::new(); COLUMNS.len()];
        for _ in 0..STARTS {
            measure_row(&mut HEAPS.map(Worker::start), index, &mut rounds);
        }
        let cells: Vec<String> = (0..COLUMNS.len()).map(|column| cell(&rounds, column)).collect();
        let ratios: Vec<String> = goals(row).iter().filter_map(|goal| ratio(&rounds, goal)).collect();
        println!("| {text} | {} | {} |", cells.join(" | "), ratios.join("; "));
    }
}

/// Adds to each column the nanoseconds an operation took in every round.
fn measure_row(workers: &mut [Worker], row: usize, times: &mut [Vec<f64>]) {
    let mut ask = |column: Column, count| workers[column.worker].ask(row, column.subject, count);
    let counts = COLUMNS.map(|column| {
        let mut count = 16;
        loop {
            let took = ask(column, count)?;
            if took > TARGET_NS / 10.0 {
                return Some((count as f64 * TARGET_NS / took).ceil() as u64);
            }
            count *= 4;
        }
    });
    for _ in 0..ROUNDS {
        for (index, column) in COLUMNS.into_iter().enumerate() {
            let Some(count) = counts[index] else { continue };
            times[index].extend(ask(column, count).map(|took| took / count as f64));
        }
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn cell(rounds: &[Vec<f64>], column: usize) -> String {
    let times = sorted(rounds[column].clone());
    match times.get(times.len() / 2) {
        None => "-".to_owned(),
        Some(ns) if *ns >= 100_000.0 => format!("{:.0} us", ns / 1000.0),
        Some(ns) if *ns >= 100.0 => format!("{ns:.0}"),
        Some(ns) => format!("{ns:.1}"),
    }
}

/// The median of the rounds' ratios with the half of them around it, and what it should be.
fn ratio(rounds: &[Vec<f64>], goal: &Goal) -> Option<String> {
    let pairs = rounds[0].iter().zip(&rounds[goal.of]).map(|(ours, theirs)| ours / theirs);
    let ratios = sorted(pairs.collect());
    let at = |quarter: usize| ratios.get(quarter * (ratios.len().checked_sub(1)?) / 4).copied();
    let (low, median, high) = (at(1)?, at(2)?, at(3)?);
    let verdict = if median <= goal.most * ALLOWANCE { "" } else { ", **missed**" };
    let (name, most) = (COLUMNS[goal.of].name, goal.most);
    Some(format!("{name} {median:.2} ({low:.2} to {high:.2}), goal {most:.2}{verdict}"))
}

/// Instructions an operation, as callgrind counts them: those of 2N operations without those of N.
pub(crate) fn print_instructions() {
    const COUNT: u64 = 20_000;
    println!("| operation | {} |", Subject::ALL.map(Subject::name).join(" | "));
    println!("|---|{}", "---|".repeat(Subject::ALL.len()));
    let counted = [
        Row::Append,
        Row::PingPong,
        Row::MoveBehind,
        Row::LineOwned,
        Row::LineBorrowed,
        Row::RemoveBuffer,
        Row::Prepend,
        Row::Reserve,
        Row::Peek,
    ];
    for (index, (_, text)) in ROWS.into_iter().enumerate().filter(|(_, (row, _))| counted.contains(row)) {
        let cells = Subject::ALL.map(|subject| {
            let counts = [COUNT, 2 * COUNT].map(|count| instructions(index, subject, count));
            match counts {
                [Some(once), Some(twice)] => format!("{}", (twice - once) / COUNT),
                _ => "-".to_owned(),
            }
        });
        println!("| {text} | {} |", cells.join(" | "));
    }
}

fn instructions(row: usize, subject: Subject, count: u64) -> Option<u64> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command.args(["--count", &row.to_string(), subject.name(), &count.to_string()]);
    let output = command.output().expect("valgrind is installed");
    let log = String::from_utf8_lossy(&output.stderr);
    let total = log.lines().find_map(|line| line.split_once("Collected :"))?.1.trim().parse().ok();
    total.filter(|_| output.status.success())
}
