//! pgbouncer: events that it adds once for each wish, clients that wait for a server, and a timer that looks after both.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::capi::Library;
use crate::support::net::{PATIENCE, free_address};
use crate::support::postgres::{Client, NOBODY, Postgres, USER, is_root};
use crate::support::programs::{A_MOMENT, Program, send_signal};

const SERVERS: usize = 5;
const CLIENTS: usize = 20;
const TRANSACTIONS: usize = 20;

/// Behind each name in `databases` is the same one.
fn configure(file: &Path, databases: &[&str], postgres: SocketAddr, port: u16) {
    let mut text = "[databases]\n".to_owned();
    for name in databases {
        text += &format!("{name} = host=127.0.0.1 port={} dbname=postgres user={USER}\n", postgres.port());
    }
    text += &format!(
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
         admin_users = {USER}\npool_mode = transaction\ndefault_pool_size = {SERVERS}\nserver_idle_timeout = 1\n"
    );
    if is_root() {
        text += &format!("user = {NOBODY}\n");
    }
    fs::write(file, text).expect("there is room");
}

/// Asks until the rows are as they should be.
fn await_rows(client: &mut Client, question: &str, are_right: impl Fn(&[Vec<String>]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rows = client.ask(question);
        if are_right(&rows) {
            return;
        }
        assert!(Instant::now() < deadline, "{question}: {rows:?}");
        thread::sleep(A_MOMENT);
    }
}

#[test]
fn pools_connections_to_postgres() {
    let Some(postgres) = Postgres::start() else { return };
    each_library(|library| pool(library, postgres.address()));
}

fn pool(library: Library, postgres: SocketAddr) {
    let (folder, address) = (tempfile::tempdir().expect("there is room"), free_address());
    let file = folder.path().join("pgbouncer.ini");
    configure(&file, &["first"], postgres, address.port());
    let Some(mut program) = Program::start(library, "pgbouncer", &[&file]) else { return };
    program.await_port(address);
    transact(address);
    move_much(address);
    pause(address);
    configure(&file, &["first", "second"], postgres, address.port());
    send_signal(program.id(), "HUP");
    let deadline = Instant::now() + PATIENCE;
    while Client::open(address, "second").is_err() {
        assert!(Instant::now() < deadline, "it does not look at its configuration");
        thread::sleep(A_MOMENT);
    }
    let mut admin = Client::open(address, "pgbouncer").expect("it listens");
    await_rows(&mut admin, "SHOW SERVERS", |servers| servers.is_empty());
    assert_eq!(Client::open(address, "second").expect("it is there").ask_one("SELECT 1"), "1");
    program.stop("TERM");
}

/// More clients than servers, so that they wait for each other's transactions.
fn transact(address: SocketAddr) {
    let mut client = Client::open(address, "first").expect("it listens");
    client.ask("DROP TABLE IF EXISTS kept; CREATE TABLE kept (client int, round int)");
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = Client::open(address, "first").expect("it listens");
                for round in 1..=TRANSACTIONS {
                    client.ask("BEGIN");
                    client.ask(&format!("INSERT INTO kept VALUES ({number}, {round})"));
                    let kept = client.ask_one(&format!("SELECT count(*) FROM kept WHERE client = {number}"));
                    assert_eq!(kept, round.to_string());
                    client.ask("COMMIT");
                }
            });
        }
    });
    let kept = client.ask("SELECT count(*), sum(round) FROM kept");
    let sum = CLIENTS * TRANSACTIONS * (TRANSACTIONS + 1) / 2;
    assert_eq!(kept, [[(CLIENTS * TRANSACTIONS).to_string(), sum.to_string()]]);
}

/// A value and a copy that no buffer on the way has room for.
fn move_much(address: SocketAddr) {
    let mut client = Client::open(address, "first").expect("it listens");
    let value = client.ask_one("SELECT repeat('0123456789', 500000)");
    assert!(value == "0123456789".repeat(500_000), "a value of 5 MB");
    let lines = client.ask("COPY (SELECT * FROM generate_series(1, 100000)) TO STDOUT");
    assert_eq!(lines.len(), 100_000);
    assert!(lines.iter().zip(1..).all(|(line, number)| line[0] == format!("{number}\n")), "line by line");
}

/// Who asks while it pauses waits until it goes on.
fn pause(address: SocketAddr) {
    let mut admin = Client::open(address, "pgbouncer").expect("it listens");
    admin.ask("PAUSE");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| Client::open(address, "first").expect("it listens").ask_one("SELECT 7"));
        await_rows(&mut admin, "SHOW POOLS", |pools| {
            pools.iter().any(|pool| pool[0] == "first" && pool[3] == "1")
        });
        admin.ask("RESUME");
        assert_eq!(waiting.join().expect("it is answered"), "7");
    });
}
