//! A PostgreSQL of a test's own, and the least of its protocol: questions in words, answers in rows.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::net::{PATIENCE, free_address};
use super::process::is_installed;
use super::programs::{A_MOMENT, send_signal, try_connect};

pub const USER: &str = "test";
/// Who servers run as that refuse to be root.
pub const NOBODY: &str = "nobody";
const NOBODY_ID: u32 = 65_534;

/// Version 3 of the protocol.
const PROTOCOL: u32 = 3 << 16;

/// A server with an empty database, which goes when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Postgres {
    /// `None`, with a line that says why, if it is not installed.
    pub fn start() -> Option<Postgres> {
        let (programs, folder) = (programs()?, tempfile::tempdir().expect("there is room"));
        if is_root() {
            chown(folder.path(), Some(NOBODY_ID), Some(NOBODY_ID)).expect("root may");
        }
        let (data, address) = (folder.path().join("data"), free_address());
        let mut command = harmless(&programs.join("initdb"), &data);
        command.args(["-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        assert!(command.status().expect("it starts").success(), "there is no database");
        let mut command = harmless(&programs.join("postgres"), &data);
        command.args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-k", "", "-F"]);
        let server = command.spawn().expect("it starts");
        let postgres = Postgres { server, address, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = Client::open(address, "postgres") {
            assert!(Instant::now() < deadline, "{error}");
            thread::sleep(A_MOMENT);
        }
        Some(postgres)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, but so that nothing of it stays.
        send_signal(self.server.id(), "QUIT");
        let _ = self.server.wait();
    }
}

/// Where the programs of a server are, which are in nobody's path.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders = versions.map(|version| version.path().join("bin"));
    let found = folders.find(|folder| folder.join("postgres").is_file());
    is_installed(found.is_some(), "postgresql").then_some(found).flatten()
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").expect("it is there").uid() == 0
}

/// A command of somebody who may do little, on a folder with data.
fn harmless(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY_ID).gid(NOBODY_ID);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.arg("-D").arg(data);
    command
}

/// A connection to a server, or to what stands before it.
#[derive(Debug)]
pub struct Client(BufReader<TcpStream>);

/// Rows of columns, in text.
pub type Rows = Vec<Vec<String>>;

impl Client {
    pub fn open(address: SocketAddr, database: &str) -> io::Result<Client> {
        let stream = try_connect(address).ok_or(io::ErrorKind::ConnectionRefused)?;
        let mut client = Client(BufReader::new(stream));
        let words = format!("user\0{USER}\0database\0{database}\0\0");
        client.send(&[], &[&PROTOCOL.to_be_bytes(), words.as_bytes()].concat())?;
        client.receive()?;
        Ok(client)
    }

    /// Has a question answered: by its rows, or by lines that are copied, which have one column.
    pub fn ask(&mut self, question: &str) -> Rows {
        self.send(b"Q", &[question.as_bytes(), b"\0"].concat()).expect("it can be asked");
        self.receive().expect(question)
    }

    /// The only column of the only row of an answer.
    pub fn ask_one(&mut self, question: &str) -> String {
        let rows = self.ask(question);
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{question}: {rows:?}");
        rows.into_iter().flatten().collect()
    }

    fn send(&mut self, kind: &[u8], body: &[u8]) -> io::Result<()> {
        let len = (body.len() as u32 + 4).to_be_bytes();
        self.0.get_mut().write_all(&[kind, &len, body].concat())
    }

    /// Everything until it is ready for another question.
    fn receive(&mut self) -> io::Result<Rows> {
        let mut rows = Rows::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head)?;
            let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; len as usize - 4];
            self.0.read_exact(&mut body)?;
            match head[0] {
                b'D' => rows.push(columns(&body)),
                b'd' => rows.push(vec![text(&body)]),
                b'E' => return Err(io::Error::other(text(&body))),
                b'Z' => return Ok(rows),
                _ => {}
            }
        }
    }
}

fn columns(row: &[u8]) -> Vec<String> {
    let (mut columns, mut rest) = (Vec::new(), &row[2..]);
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        // A column without a value has a length of -1.
        let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0);
        let (column, behind) = behind.split_at(len);
        columns.push(text(column));
        rest = behind;
    }
    columns
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
