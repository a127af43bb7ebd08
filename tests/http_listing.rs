//! Directories through real sockets: redirects, indexes, listings, error pages; and nothing from outside the
//! root in any of them.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use support::http::{Response, Running};
use zerovent::http::{StaticFiles, Status};

/// A directory to list, and a secret beside it.
fn tree() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::create_dir_all(root.join("with index")).unwrap();
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::create_dir(outside.path().join("secrets")).unwrap();
    fs::write(outside.path().join("secrets/password"), vec![b's'; 4321]).unwrap();
    fs::write(root.join("with index/index.html"), "<p>index").unwrap();
    fs::write(root.join("sub/a.txt"), vec![b'a'; 3000]).unwrap();
    fs::write(root.join("sub/b.txt"), "b").unwrap();
    fs::write(root.join("sub/c:d?e#f%.txt"), "strange").unwrap();
    fs::write(root.join("sub/<script>alert('1')&\".txt"), "hostile").unwrap();
    fs::write(root.join("sub/.hidden"), "hidden").unwrap();
    symlink("b.txt", root.join("sub/inside")).unwrap();
    symlink("../../secrets/password", root.join("sub/to-password")).unwrap();
    symlink("../../secrets", root.join("sub/to-secrets")).unwrap();
    symlink("/etc", root.join("sub/to-etc")).unwrap();
    symlink("nowhere", root.join("sub/dangling")).unwrap();
    symlink("../secrets", root.join("away")).unwrap();
    symlink("../secrets/password", root.join("missing.html")).unwrap();
    fs::create_dir(root.join("bad-index")).unwrap();
    symlink("../../secrets/password", root.join("bad-index/index.html")).unwrap();
    outside
}

fn serve(
    configure: impl FnOnce(StaticFiles) -> StaticFiles + Send + 'static,
) -> (tempfile::TempDir, Running) {
    let outside = tree();
    let server = Running::start_files(&outside.path().join("root"), configure);
    (outside, server)
}

/// The links of a listing that lead to entries, in their order.
fn links(response: &Response) -> Vec<&str> {
    let anchors = response.text().split("<td><a href=\"").skip(1);
    anchors.map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn a_directory_without_its_slash_is_redirected_to() {
    let (_tree, server) = serve(|files| files);
    let mut client = server.connect();
    let table = [
        ("/sub", "/sub/"),
        ("/sub/deep", "/sub/deep/"),
        ("/with%20index", "/with%20index/"),
        ("/with%20index?a=b/c", "/with%20index/?a=b/c"),
        ("http://elsewhere/sub?x", "/sub/?x"),
    ];
    for (target, location) in table {
        for method in ["GET", "HEAD"] {
            let response = client.request(method, target, "");
            assert_eq!((response.status, response.field("Location")), (301, Some(location)), "{target}");
        }
    }
    assert_eq!(client.get("/with%20index/").text(), "<p>index");
    assert_eq!(client.get("/sub/").status, 403, "there is no index, and no listing was asked for");
    assert_eq!(client.get("//sub").status, 404, "and nothing that reads as another host");
}

#[test]
fn options_says_what_can_be_done() {
    let (_tree, server) = serve(|files| files.listing(true));
    let mut client = server.connect();
    for (target, status) in [
        ("*", 204),
        ("/", 204),
        ("/sub", 204),
        ("/sub/", 204),
        ("/sub/a.txt", 204),
        ("/nothing", 404),
        ("/..", 403),
    ] {
        let response = client.request("OPTIONS", target, "");
        assert_eq!(response.status, status, "{target}");
        let allow = (status == 204).then_some("GET, HEAD, OPTIONS");
        assert_eq!(response.field("Allow"), allow, "{target}");
    }
    assert_eq!(client.request("GET", "*", "").status, 400);
}

#[test]
fn a_listing_shows_what_is_served_and_every_link_leads_there() {
    let (tree, server) = serve(|files| files.listing(true));
    let _socket = UnixListener::bind(tree.path().join("root/sub/socket")).unwrap();
    let mut client = server.connect();
    let page = client.get("/sub/");
    assert_eq!((page.status, page.field("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let found = links(&page);
    let expected = [
        "../",
        "deep/",
        "%3Cscript%3Ealert%28%271%27%29%26%22.txt",
        "a.txt",
        "b.txt",
        "c%3Ad%3Fe%23f%25.txt",
        "inside",
    ];
    assert_eq!(found, expected);
    for link in &found[2..] {
        assert_eq!(client.get(&format!("/sub/{link}")).status, 200, "{link}");
    }
    assert!(page.text().contains("&lt;script&gt;alert(&#39;1&#39;)&amp;&quot;.txt"));
    assert!(page.text().contains("<td>2.9 KiB</td>"));
    for absent in
        ["<script", "hidden", "secret", "4.2 KiB", "to-", "dangling", "socket", "http://", "https://"]
    {
        assert!(!page.text().contains(absent), "{absent}");
    }
    let head = client.request("HEAD", "/sub/", "");
    assert_eq!(head.field("Content-Length"), Some(page.body.len().to_string().as_str()));
    assert!(!links(&client.get("/")).contains(&"../"), "there is nothing above the root");
    assert!(client.get("/empty/").text().contains("nothing here"));
    assert_eq!(client.get("/with%20index/").text(), "<p>index", "an index comes before a listing");
}

#[test]
fn a_listing_is_sorted_by_its_links() {
    let (_tree, server) = serve(|files| files.listing(true));
    let mut client = server.connect();
    let by_size = client.get("/sub/?sort=size&order=desc");
    assert_eq!(links(&by_size)[..3], ["../", "deep/", "a.txt"]);
    assert!(by_size.text().contains("aria-sort=\"descending\"><a href=\"?sort=size&amp;order=asc\">"));
    let by_name = client.get("/sub/?sort=name&order=desc");
    assert_eq!(links(&by_name)[2], "inside");
    assert_eq!(client.get("/sub/?sort=date").status, 200);
    let hostile = client.get("/sub/?sort=%22%3E%3Cscript%3E&\"><script>");
    assert!(!hostile.text().contains("<script>"));
}

#[test]
fn a_listing_is_bounded_and_says_so() {
    let outside = tempfile::tempdir().unwrap();
    for number in 0..50 {
        fs::write(outside.path().join(format!("{number}")), "").unwrap();
    }
    let server = Running::start_files(outside.path(), |files| files.listing(true).listing_max(20));
    let page = server.connect().get("/");
    assert_eq!(links(&page).len(), 20);
    assert!(page.text().contains("There are more than these 20."));
}

#[test]
fn nothing_outside_is_listed_indexed_or_shown_as_an_error() {
    let (_tree, server) = serve(|files| {
        files.listing(true).precompressed(true).error_page(Status::NotFound, "/missing.html").unwrap()
    });
    let mut client = server.connect();
    for target in [
        "/away",
        "/away/",
        "/away/password",
        "/sub/to-secrets/",
        "/sub/to-etc/",
        "/sub/to-password",
        "/bad-index/",
        "/bad-index/index.html",
        "/../",
        "/../secrets/",
        "/%2e%2e/secrets/",
        "/sub/../../secrets/",
        "/sub/deep/..%2f..%2f..%2fsecrets/",
        "//",
        "/./",
        "/no-such-thing",
    ] {
        let response = client.get(target);
        assert!([403, 404].contains(&response.status), "{target}: {}", response.status);
        assert!(!response.text().contains("password") && !response.text().contains("sss"), "{target}");
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_never_shows_what_is_outside() {
    let (tree, server) = serve(|files| files.listing(true));
    let root = tree.path().join("root");
    symlink("../secrets", root.join("spare")).unwrap();
    let swapping = std::thread::spawn(move || {
        for _ in 0..400 {
            fs::rename(root.join("empty"), root.join("aside")).unwrap();
            fs::rename(root.join("spare"), root.join("empty")).unwrap();
            fs::rename(root.join("empty"), root.join("spare")).unwrap();
            fs::rename(root.join("aside"), root.join("empty")).unwrap();
        }
    });
    let mut client = server.connect();
    let mut listed = 0;
    while !swapping.is_finished() || listed == 0 {
        let response = client.get("/empty/");
        assert!(!response.text().contains("password"), "{}", response.status);
        assert!([200, 403, 404].contains(&response.status), "{}", response.status);
        listed += usize::from(response.status == 200);
    }
    swapping.join().unwrap();
}

#[test]
fn error_pages_of_one_s_own() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("errors")).unwrap();
    fs::write(outside.path().join("errors/404.html"), "<p>not here").unwrap();
    fs::write(outside.path().join("errors/405.txt"), "no").unwrap();
    fs::write(outside.path().join("a.txt"), "a").unwrap();
    let server = Running::start_files(outside.path(), |files| {
        let files = files.error_page(Status::NotFound, "/errors/404.html").unwrap();
        let files = files.error_page(Status::MethodNotAllowed, "/errors/405.txt").unwrap();
        files.error_page(Status::Forbidden, "/errors/missing.html").unwrap()
    });
    let mut client = server.connect();
    let missing = client.get_with("/nothing", "Range: bytes=0-1\r\nIf-None-Match: *\r\n");
    assert_eq!((missing.status, missing.text()), (404, "<p>not here"));
    assert_eq!(missing.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!((missing.field("ETag"), missing.field("Last-Modified")), (None, None));
    let head = client.request("HEAD", "/nothing", "");
    assert_eq!((head.status, head.field("Content-Length")), (404, Some("11")));
    let refused = client.request("DELETE", "/a.txt", "");
    assert_eq!((refused.status, refused.text()), (405, "no"));
    assert_eq!(refused.field("Allow"), Some("GET, HEAD, OPTIONS"));
    assert!(
        client.get("/..").text().contains("403 Forbidden"),
        "its page is missing, so there is the short one"
    );
}
