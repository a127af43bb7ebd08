//! A headless Chromium, spoken to by the DevTools protocol over two pipes: no driver, no port, no library.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for a browser on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page open, killed when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    last_id: u64,
    session: Option<String>,
    _profile: TempDir,
}

const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox", // root cannot have one, and what is visited is ours
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--autoplay-policy=no-user-gesture-required",
    "--hide-scrollbars",
];

impl Browser {
    pub fn start() -> Browser {
        let profile = tempfile::tempdir().expect("a directory for its profile");
        // It reads commands from descriptor 3 and writes answers to 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec chromium \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.env("HOME", profile.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let input = child.stdin.take().expect("it is piped");
        let answers = forward(child.stdout.take().expect("it is piped"));
        let mut browser = Browser { child, input, answers, last_id: 0, session: None, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        browser.call("Page.enable", json!({}));
        let size = json!({"width": 1000, "height": 700, "deviceScaleFactor": 1, "mobile": false});
        browser.call("Emulation.setDeviceMetricsOverride", size);
        browser
    }

    /// Carries a command out, and gives its result.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let text = message.to_string() + "\0";
        self.input.write_all(text.as_bytes()).expect("it listens");
        loop {
            let mut answer = self.answers.recv_timeout(PATIENCE).expect("it answers");
            if answer["id"] == self.last_id {
                return match answer.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(answer["result"].take()),
                };
            }
        }
    }

    /// What an expression comes to in the page; a promise is waited for.
    pub fn eval(&mut self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn try_eval(&mut self, expression: &str) -> Result<Value, Value> {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let mut result = self.try_call("Runtime.evaluate", parameters)?;
        match result.get("exceptionDetails") {
            Some(details) => Err(details.clone()),
            None => Ok(result["result"]["value"].take()),
        }
    }

    /// Waits until an expression is true, whatever page is there meanwhile.
    pub fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.try_eval(expression) != Ok(Value::Bool(true)) {
            let page =
                self.try_eval("location.href + ': ' + document.documentElement.outerHTML.slice(0, 500)");
            assert!(Instant::now() < deadline, "{expression} never came true at {page:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens `url` and waits until it is there.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        self.wait_for(&format!("location.href === {} && document.readyState === 'complete'", json!(url)));
    }

    /// Follows the first link that reads `text`, to a page whose address ends in `end`.
    pub fn follow(&mut self, text: &str, end: &str) {
        let links = "Array.from(document.links)";
        self.eval(&format!("{links}.find(link => link.textContent === {}).click()", json!(text)));
        self.wait_for(&format!(
            "location.href.endsWith({}) && document.readyState === 'complete'",
            json!(end)
        ));
    }

    /// Makes pages believe that their reader likes it dark, or light.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// A picture of the page as it is. It is kept for somebody to look at if `ZEROVENT_SCREENSHOTS` names a directory.
    pub fn screenshot(&mut self, name: &str) {
        let shot =
            self.call("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
        let base64 = shot["data"].as_str().expect("a picture");
        assert!(base64.len() > 1000, "{name} is a picture of nothing");
        if let Some(directory) = std::env::var_os("ZEROVENT_SCREENSHOTS") {
            let path = Path::new(&directory).join(format!("{name}.png"));
            let mut decode = Command::new("base64");
            decode.arg("--decode").stdin(Stdio::piped());
            decode.stdout(std::fs::File::create(path).expect("a file for it"));
            let mut child = decode.spawn().expect("base64 is there");
            child.stdin.take().expect("it is piped").write_all(base64.as_bytes()).expect("it reads");
            assert!(child.wait().expect("it is our child").success());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        // Its many processes end when it is asked to; if it does not, the first takes the others along.
        let _ = self.input.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages end in NUL. Those that nobody asked for are passed on too, and skipped.
fn forward(output: impl std::io::Read + Send + 'static) -> Receiver<Value> {
    let (sender, answers) = mpsc::channel();
    thread::spawn(move || {
        for message in BufReader::new(output).split(0).map_while(Result::ok) {
            let message = serde_json::from_slice(&message).expect("the browser speaks JSON");
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    answers
}
