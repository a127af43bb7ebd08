//! The example `serve` as a person sees it, in Chromium: the listing, an image, a video and a sound that are sought in, the
//! page of figures; by day and by night.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::browser::Browser;
use support::process::{Server, have};

/// A picture of one colour, in the simplest format that there is.
fn bitmap(side: u32) -> Vec<u8> {
    let pixels = side * side * 3;
    let mut bytes = b"BM".to_vec();
    [54 + pixels, 0, 54, 40, side, side, 1 | (24 << 16), 0, pixels, 2835, 2835, 0, 0]
        .iter()
        .for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes.extend((0..side * side).flat_map(|_| [0x20, 0x80, 0xe0]));
    bytes
}

/// So many seconds of a low tone.
fn tone(seconds: u32) -> Vec<u8> {
    const RATE: u32 = 44_100;
    let data = RATE * 2 * seconds;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend_from_slice(&(36 + data).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt ");
    [16, 1 | (1 << 16), RATE, RATE * 2, 2 | (16 << 16)]
        .iter()
        .for_each(|number: &u32| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&data.to_le_bytes());
    bytes.extend((0..RATE * seconds).flat_map(|at| ((at % 200) as i16 * 50).to_le_bytes()));
    bytes
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(root.path().join(name), bytes).unwrap();
    write("zebra.txt", b"short");
    write("a <b> & \"c\" \u{e9}t\u{e9}.txt", &[b'x'; 3000]);
    write("middle.txt", &[b'y'; 200]);
    write("picture.bmp", &bitmap(64));
    write("tone.wav", &tone(120));
    write("colours.webm", include_bytes!("data/colours.webm"));
    fs::create_dir_all(root.path().join("photos/2024")).unwrap();
    write("photos/first.txt", b"the first");
    fs::create_dir(root.path().join("empty")).unwrap();
    root
}

fn start(root: &Path, more: &[&str]) -> Server {
    let root = root.to_str().unwrap();
    Server::start("serve", &[&[root, "--addr", "127.0.0.1:0", "--listing", "--stats"], more].concat())
}

/// The names in the listing, in their order.
fn names(browser: &mut Browser) -> Vec<String> {
    let names =
        browser.eval("Array.from(document.querySelectorAll('tbody a')).map(link => link.textContent)");
    serde_json::from_value(names).unwrap()
}

const WEIRD: &str = "a <b> & \"c\" \u{e9}t\u{e9}.txt";

fn look_at_the_listing(browser: &mut Browser, home: &str) {
    browser.open(home);
    let by_name =
        ["empty/", "photos/", WEIRD, "colours.webm", "middle.txt", "picture.bmp", "tone.wav", "zebra.txt"];
    assert_eq!(names(browser), by_name);
    browser.screenshot("listing-light");
    browser.follow("Size", "/?sort=size&order=asc");
    let by_size =
        ["empty/", "photos/", "zebra.txt", "middle.txt", WEIRD, "colours.webm", "picture.bmp", "tone.wav"];
    assert_eq!(names(browser), by_size);
    browser.follow("Size", "/?sort=size&order=desc");
    assert_eq!(names(browser)[2..], by_size[2..].iter().rev().copied().collect::<Vec<_>>());
    browser.prefer("dark");
    browser.screenshot("listing-by-size-dark");
    browser.follow("Name", "/?sort=name&order=asc");
    browser.follow("photos/", "/photos/");
    assert_eq!(names(browser), ["../", "2024/", "first.txt"]);
    browser.screenshot("directory-dark");
    browser.prefer("light");
    browser.follow("first.txt", "/photos/first.txt");
    assert_eq!(browser.eval("document.body.textContent"), "the first");
    browser.eval("history.back()");
    browser.wait_for("document.title === '/photos/'");
    browser.follow("../", "/");
    // The address of the page before ends like that too.
    browser.wait_for("document.title === '/' && document.readyState === 'complete'");
    browser.follow("empty/", "/empty/");
    browser.screenshot("empty-light");
    assert_eq!(browser.eval("performance.getEntriesByType('resource').length"), 0, "it fetches nothing");
    browser.open(home);
    browser.follow(WEIRD, ".txt");
    assert_eq!(browser.eval("document.body.textContent.length"), 3000);
}

fn look_at_a_picture(browser: &mut Browser, home: &str) {
    browser.open(home);
    browser.follow("picture.bmp", "/picture.bmp");
    assert_eq!(
        browser.eval("[document.images[0].naturalWidth, document.images[0].complete]"),
        json!([64, true])
    );
    browser.screenshot("picture");
}

/// Goes to a time of what is played, and waits until the browser is there.
fn seek(seconds: u32) -> String {
    format!(
        "new Promise((done, failed) => {{ const media = document.querySelector('video, audio');
            media.onerror = () => failed(new Error(media.error.message));
            media.onseeked = () => done(media.currentTime); media.currentTime = {seconds}; }})"
    )
}

fn watch_a_video(browser: &mut Browser, home: &str) {
    browser.open(home);
    browser.follow("colours.webm", "/colours.webm");
    browser.wait_for("document.querySelector('video').readyState >= 2");
    let length = browser.eval("document.querySelector('video').duration").as_f64().unwrap();
    assert!((7.9..8.2).contains(&length), "{length}");
    browser.eval("document.querySelector('video').pause()");
    // Red, green, blue and yellow, two seconds each; not in that order.
    for (seconds, colour) in [(5, [0, 0, 255]), (1, [255, 0, 0]), (7, [255, 255, 0]), (3, [0, 255, 0])] {
        assert_eq!(browser.eval(&seek(seconds)).as_f64().map(f64::round), Some(f64::from(seconds)));
        let pixel = browser.eval(
            "(() => { const video = document.querySelector('video'), canvas = document.createElement('canvas');
                const context = canvas.getContext('2d'); context.drawImage(video, 0, 0, 10, 10);
                return Array.from(context.getImageData(5, 5, 1, 1).data.slice(0, 3)); })()",
        );
        let pixel: Vec<i32> = serde_json::from_value(pixel).unwrap();
        let is_near = pixel.iter().zip(colour).all(|(seen, meant)| (seen - meant).abs() < 40);
        assert!(is_near, "{pixel:?} at {seconds} s, and {colour:?} was meant");
    }
    browser.eval("document.querySelector('video').play()");
    browser.wait_for("document.querySelector('video').currentTime > 3.2");
    browser.screenshot("video");
}

fn listen_to_the_end_of_a_sound(browser: &mut Browser, home: &str) {
    browser.open(home);
    browser.follow("tone.wav", "/tone.wav");
    browser.wait_for("document.querySelector('video, audio').readyState >= 1");
    assert_eq!(browser.eval("Math.round(document.querySelector('video, audio').duration)"), 120);
    assert_eq!(browser.eval(&seek(115)).as_f64().map(f64::round), Some(115.0));
    assert_eq!(browser.eval(&seek(30)).as_f64().map(f64::round), Some(30.0));
}

fn look_at_the_figures(browser: &mut Browser, home: &str) {
    browser.open(&format!("{home}-/stats"));
    assert_eq!(browser.eval("performance.getEntriesByType('resource').length"), 0, "it fetches nothing");
    let background = |browser: &mut Browser| browser.eval("getComputedStyle(document.body).backgroundColor");
    let by_day = background(browser);
    let born = browser.eval("performance.timeOrigin");
    browser.wait_for(&format!("performance.timeOrigin > {born} && document.readyState === 'complete'"));
    browser.screenshot("stats-light");
    browser.prefer("dark");
    assert_ne!(background(browser), by_day);
    browser.screenshot("stats-dark");
    let size = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
    browser.call("Emulation.setDeviceMetricsOverride", size);
    assert_eq!(
        browser.eval("document.documentElement.scrollWidth <= innerWidth"),
        true,
        "a telephone's width"
    );
    browser.screenshot("stats-narrow");
    browser.open(home);
    assert_eq!(
        browser.eval("document.documentElement.scrollWidth <= innerWidth"),
        true,
        "a telephone's width"
    );
    browser.screenshot("listing-narrow");
    browser.prefer("light");
}

#[test]
fn a_person_can_look_around() {
    if !have("chromium") {
        return;
    }
    let root = root();
    let log = root.path().join(".log");
    // Slow enough that the end of the sound is not there yet when somebody wants to hear it.
    let arguments = ["--rate", "3000000", "--log", "json", "--log-file", log.to_str().unwrap()];
    let server = start(root.path(), &arguments);
    let home = format!("http://{}/", server.address());
    let mut browser = Browser::start();
    look_at_the_listing(&mut browser, &home);
    look_at_a_picture(&mut browser, &home);
    watch_a_video(&mut browser, &home);
    listen_to_the_end_of_a_sound(&mut browser, &home);
    look_at_the_figures(&mut browser, &home);
    drop(browser);
    assert!(server.stop("TERM").success());
    let log = fs::read_to_string(&log).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sound: Vec<Value> = lines.filter(|line| line["target"] == "/tone.wav").collect();
    assert!(
        sound.len() >= 2 && sound.iter().any(|line| line["status"] == 206),
        "it asks for parts: {sound:#?}"
    );
}
