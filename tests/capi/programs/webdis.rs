//! webdis: HTTP in front of Redis; embeds its events, adds them again after each call, one base a thread, and reconnects by timers.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::capi::Library;
use crate::support::net::{PATIENCE, free_address};
use crate::support::programs::{A_MOMENT, Program, connect, find};

/// Redis, which webdis asks; it has an event loop of its own.
struct Redis(Child);

impl Redis {
    fn start(address: SocketAddr) -> Option<Redis> {
        let mut command = Command::new(find("redis-server")?);
        command.args(["--port", &address.port().to_string(), "--save", "", "--daemonize", "no"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Some(Redis(command.spawn().expect("it starts")))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The content of the answer to a GET.
fn get(server: SocketAddr, target: &str) -> String {
    let mut stream = connect(server);
    let request = format!("GET {target} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it can be asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.split_once("\r\n\r\n").expect("an answer has a head").1.to_owned()
}

/// Asks until the answer is `wanted`: each of its threads finds Redis in its own time, and refuses until then.
fn await_answer(server: SocketAddr, target: &str, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(server, target);
        if answer == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        thread::sleep(A_MOMENT);
    }
}

#[test]
fn asks_redis_for_its_clients() {
    each_library(serve);
}

fn serve(library: Library) {
    let folder = tempfile::tempdir().expect("there is room");
    let (redis, web) = (free_address(), free_address());
    let config = folder.path().join("webdis.json");
    let log = folder.path().join("log");
    let text = format!(
        r#"{{"redis_host":"127.0.0.1","redis_port":{},"redis_auth":null,"http_host":"127.0.0.1","http_port":{},
        "threads":4,"daemonize":false,"database":0,"acl":[],"verbosity":1,"logfile":"{}"}}"#,
        redis.port(),
        web.port(),
        log.display()
    );
    fs::write(&config, text).expect("there is room");
    let Some(_redis) = Redis::start(redis) else { return };
    let Some(mut program) = Program::start(library, "webdis", &[&config]) else { return };
    program.await_port(web);
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for number in 0..25 {
                    let value = format!("{part}-{number}").repeat(200);
                    await_answer(web, &format!("/SET/{part}-{number}/{value}"), r#"{"SET":[true,"OK"]}"#);
                    await_answer(web, &format!("/GET/{part}-{number}.txt"), &value);
                }
            });
        }
    });
    program.check_alive();
}
